// The js-libp2p foreign peer. ../README.md defines its command line and the lines it prints.
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { quic } from '@chainsafe/libp2p-quic'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPair, generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import { mdns } from '@libp2p/mdns'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { echo, keepReserved, relayService, serveEcho } from './circuits.mjs'
import { dhtService, work } from './kad.mjs'
import { probe } from './probe.mjs'

const USAGE = `usage: js-peer listen --transport tcp|quic [--security tls|noise] [--addr MULTIADDR] [--key-seed N]
               [--relay [--relay-data BYTES]] [--reserve MULTIADDR] [--probe-every MS] [--mdns]
               [--kad NAME]
       js-peer echo MULTIADDR --transport tcp|quic [--security tls|noise] [--bytes N] [--key-seed N]
       js-peer dial MULTIADDR --transport tcp|quic [--security tls|noise] [--pings N] [--key-seed N]`

const DIAL_LIMIT_MS = 20_000

const TRANSPORTS = { tcp, quic }
const SECURITIES = { tls, noise }
const ANY_PORT = { tcp: '/ip4/127.0.0.1/tcp/0', quic: '/ip4/127.0.0.1/udp/0/quic-v1' }

const COMMON_OPTIONS = {
  transport: { type: 'string' },
  security: { type: 'string', default: 'tls' },
  'key-seed': { type: 'string' }
}

const LISTEN_OPTIONS = {
  addr: { type: 'string' },
  relay: { type: 'boolean', default: false },
  'relay-data': { type: 'string' },
  reserve: { type: 'string' },
  'probe-every': { type: 'string' },
  mdns: { type: 'boolean', default: false },
  kad: { type: 'string' }
}

/** Reads the command line into the job to do; throws when it is not one. */
function parseCommandLine ([command, ...args]) {
  switch (command) {
    case 'listen': {
      const { values } = parseArgs({ args, options: { ...COMMON_OPTIONS, ...LISTEN_OPTIONS } })
      const common = parseCommon(values)
      const addr = multiaddr(values.addr ?? ANY_PORT[common.transport])
      const reserve = values.reserve === undefined ? undefined : multiaddr(values.reserve)
      const data = values['relay-data'] === undefined
        ? undefined
        : parseWhole('--relay-data', values['relay-data'], Number.MAX_SAFE_INTEGER)
      const pause = values['probe-every'] === undefined
        ? undefined
        : parseWhole('--probe-every', values['probe-every'], 2 ** 31 - 1)
      return {
        ...common,
        listen: [addr.toString()],
        relay: values.relay ? relayService(data) : undefined,
        circuits: values.relay || reserve !== undefined,
        mdns: values.mdns,
        dht: values.kad === undefined ? undefined : dhtService(values.kad),
        run: node => listen(node, reserve, pause)
      }
    }
    case 'echo': {
      const options = { ...COMMON_OPTIONS, bytes: { type: 'string', default: '100000' } }
      const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
      if (positionals.length !== 1) {
        throw new Error('echo takes one MULTIADDR')
      }
      const remote = multiaddr(positionals[0])
      const bytes = parseWhole('--bytes', values.bytes, Number.MAX_SAFE_INTEGER)
      const run = node => inTime(node, () => echo(node, remote, bytes, print))
      return { ...parseCommon(values), listen: [], circuits: true, run }
    }
    case 'dial': {
      const options = { ...COMMON_OPTIONS, pings: { type: 'string', default: '3' } }
      const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
      if (positionals.length !== 1) {
        throw new Error('dial takes one MULTIADDR')
      }
      const remote = multiaddr(positionals[0])
      const pings = parseWhole('--pings', values.pings, Number.MAX_SAFE_INTEGER)
      return { ...parseCommon(values), listen: [], run: node => dial(node, remote, pings) }
    }
    default:
      throw new Error('the first argument is listen, echo or dial')
  }
}

function parseCommon (values) {
  return {
    transport: parseKeyOf(TRANSPORTS, '--transport', values.transport),
    security: parseKeyOf(SECURITIES, '--security', values.security),
    seed: values['key-seed'] === undefined ? undefined : parseWhole('--key-seed', values['key-seed'], 255)
  }
}

function parseKeyOf (table, option, text) {
  if (text === undefined || !Object.hasOwn(table, text)) {
    throw new Error(`${option} is one of ${Object.keys(table).join(', ')}`)
  }
  return text
}

function parseWhole (option, text, max) {
  const number = Number(text)
  if (!/^\d+$/.test(text) || number > max) {
    throw new Error(`${option} is a whole number from 0 to ${max}`)
  }
  return number
}

function print (line) {
  console.log(JSON.stringify(line))
}

/** A node, not started yet, that has nothing but what the job asks for. */
async function createNode ({ transport, security, seed, listen, relay, dht, circuits = false, mdns: discover = false }) {
  const own = transport === 'tcp' || circuits
  const asked = Object.entries({ relay, dht }).filter(([, service]) => service !== undefined)
  return createLibp2p({
    start: false,
    privateKey: seed === undefined
      ? await generateKeyPair('Ed25519')
      : await generateKeyPairFromSeed('Ed25519', new Uint8Array(32).fill(seed)),
    addresses: { listen },
    transports: [TRANSPORTS[transport](), ...circuits ? [circuitRelayTransport()] : []],
    // QUIC brings its own security and streams, a circuit does not.
    connectionEncrypters: own ? [SECURITIES[security]()] : [],
    streamMuxers: own ? [yamux()] : [],
    peerDiscovery: discover ? [tellingMdns] : [],
    services: { identify: identify(), ping: ping(), ...Object.fromEntries(asked) },
    connectionManager: {
      // Every test peer has the same host, which would soon meet the limits on new connections per host.
      allow: ['/ip4/127.0.0.0/ipcidr/8', '/ip6/::1/ipcidr/128'],
      // Only the limit of the whole job may end a dial.
      dialTimeout: DIAL_LIMIT_MS,
      addressDialTimeout: DIAL_LIMIT_MS
    },
    // It pings on every connection each 10 seconds, and two pings of ours at once would fail a dial.
    connectionMonitor: { enabled: listen.length > 0 }
  })
}

/** mDNS that prints what it finds. The node's own event is silent about a peer that has connected before. */
function tellingMdns (components) {
  const service = mdns()(components)
  service.addEventListener('peer', ({ detail: found }) => {
    print({ event: 'discovered', peer_id: found.id.toString(), addresses: found.multiaddrs.map(String) })
  })
  return service
}

/** Prints what happens to connections, in the order it happens. */
function reportConnections (node) {
  node.addEventListener('connection:open', ({ detail: connection }) => {
    print({
      event: 'connected',
      peer_id: connection.remotePeer.toString(),
      address: connection.remoteAddr.toString(),
      security: connection.encryption,
      muxer: connection.multiplexer
    })
  })
  node.addEventListener('peer:identify', ({ detail: result }) => {
    print({
      event: 'identified',
      peer_id: result.peerId.toString(),
      agent: result.agentVersion,
      protocols: result.protocols,
      listen: result.listenAddrs.map(String)
    })
  })
  node.addEventListener('peer:disconnect', ({ detail: peerId }) => {
    print({ event: 'disconnected', peer_id: peerId.toString() })
  })
}

/** Serves until standard input closes or a signal asks to end. */
async function listen (node, reserve, pause) {
  const ended = new Promise(resolve => {
    // A pipe that breaks tells only 'close', a file or /dev/null only 'end'.
    process.stdin.resume().once('end', resolve).once('close', resolve)
    process.once('SIGTERM', resolve)
    process.once('SIGINT', resolve)
  })
  createInterface({ input: process.stdin }).on('line', line => order(node, line))
  // Printed from the event rather than after start(), which returns late enough for a connection to be reported first.
  node.addEventListener('transport:listening', () => {
    print({ event: 'ready', peer_id: node.peerId.toString(), addresses: node.getMultiaddrs().map(String) })
  }, { once: true })
  await node.start()
  await serveEcho(node, print)
  if (pause !== undefined) {
    probe(node, pause, print)
  }
  if (reserve !== undefined) {
    await Promise.race([keepReserved(node, reserve, print), ended])
  }
  await ended
}

/** Carries out a line of standard input. A dial that fails is told of and ends nothing. */
async function order (node, line) {
  const [verb, rest] = line.split(/ (.*)/, 2)
  if (verb === 'dial' && rest !== undefined) {
    try {
      await node.dial(multiaddr(rest))
    } catch (error) {
      console.error(`a dial failed: ${error.message}`)
    }
  } else if (verb === 'dht' && rest !== undefined && node.services.dht !== undefined) {
    await work(node.services.dht, rest, print)
  }
}

/** Connects, waits for the remote's identify, pings it, and says so. */
async function dial (node, remote, pings) {
  await inTime(node, async () => {
    const identified = once(node, 'peer:identify')
    const connection = await node.dial(remote)
    await identified
    for (let i = 0; i < pings; i++) {
      // Timed here since the service tells whole milliseconds only; it opens a stream for each ping, which counts in.
      const start = performance.now()
      await node.services.ping.ping(connection.remotePeer)
      print({ event: 'pong', rtt_us: Math.round((performance.now() - start) * 1000) })
    }
  }, once(node, 'peer:disconnect').then(() => { throw new Error('the connection was lost') }))
}

/** Starts the node and does its work before the limit, unless something else fails before. */
async function inTime (node, work, ...failures) {
  const job = async () => {
    await node.start()
    await work()
    print({ event: 'done' })
  }
  // A failed identify is told by no event, and a lost connection leaves nothing to wait for.
  await Promise.race([
    job(),
    ...failures,
    sleep(DIAL_LIMIT_MS).then(() => { throw new Error(`not done after ${DIAL_LIMIT_MS / 1000} seconds`) })
  ])
}

function fail (error) {
  console.error(error)
  // A dial of several addresses fails with one error for each, under a message that tells nothing.
  print({ event: 'error', message: [error, ...error.errors ?? []].map(({ message }) => message).join(': ') })
  process.exit(1)
}

let job
try {
  job = parseCommandLine(process.argv.slice(2))
} catch (error) {
  console.error(`${error.message}\n${USAGE}`)
  process.exit(2)
}

// The stack's own stray rejections end up here too.
process.on('uncaughtException', fail)
try {
  const node = await createNode(job)
  reportConnections(node)
  await job.run(node)
  // Closed before stop(), after which a node tells of no connection. What does not close in time, stop() aborts.
  await Promise.allSettled(node.getConnections().map(connection => connection.close()))
  await node.stop()
} catch (error) {
  fail(error)
}
// Standard input and the dial's timer would keep the process alive.
process.exit(0)
