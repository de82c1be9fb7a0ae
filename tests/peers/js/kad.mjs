// A DHT: its service, and the jobs of standard input.
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import { CID } from 'multiformats/cid'

// How long one job may take.
const JOB_LIMIT_MS = 20_000

/** The service of a server with the protocol /NAME/kad/1.0.0 and the namespace NAME, besides /pk/. */
export function dhtService (name) {
  return kadDHT({
    protocol: `/${name}/kad/1.0.0`,
    clientMode: false,
    // By default, private addresses count for nothing.
    peerInfoMapper: passthroughMapper,
    // Jobs do not wait for the first query of the node itself.
    allowQueryWithZeroPeers: true,
    validators: { [name]: validate },
    selectors: { [name]: select }
  })
}

/** Accepts every value that is not empty. */
async function validate (key, value) {
  if (value.length === 0) {
    throw new Error('the value is empty')
  }
}

/** Prefers the greatest bytes. */
function select (key, values) {
  return values.reduce((best, value, i) => Buffer.compare(value, values[best]) > 0 ? i : best, 0)
}

/** Carries out one job, and says what it has found. */
export async function work (dht, job, print) {
  try {
    const found = await carryOut(dht, job.split(' '), AbortSignal.timeout(JOB_LIMIT_MS))
    print({ event: 'dht', job, found })
  } catch (error) {
    print({ event: 'dht', job, found: [], error: error.message || error.name })
  }
}

async function carryOut (dht, [name, ...args], signal) {
  switch (`${name} ${args.length}`) {
    case 'table 0':
      return Array.from(dht.routingTable.kb.toIterable(), ({ peerId }) => peerId.toString())
    case 'find 1': {
      // The addresses of peers that have connected are stored: the job is to ask others.
      const events = dht.findPeer(peerIdFromString(args[0]), { signal, useCache: false })
      const { peer } = last(await all(events, 'FINAL_PEER'), 'no peer knows it')
      return peer.multiaddrs.map(String)
    }
    case 'get 1': {
      const values = await all(dht.get(unhex(args[0]), { signal }), 'VALUE')
      return [hex(last(values, 'no peer has a value').value)]
    }
    case 'put 2':
      return await deliver(dht.put(unhex(args[0]), unhex(args[1]), { signal }), 'PUT_VALUE')
    case 'provide 1':
      return await deliver(dht.provide(CID.parse(args[0]), { signal }), 'ADD_PROVIDER')
    case 'providers 1': {
      const events = await all(dht.findProviders(CID.parse(args[0]), { signal }), 'PROVIDER')
      return [...new Set(events.flatMap(({ providers }) => providers).map(({ id }) => id.toString()))]
    }
    default:
      throw new Error(`there is no such job: ${[name, ...args].join(' ')}`)
  }
}

/** The events with this name. */
async function all (events, name) {
  const found = []
  for await (const event of events) {
    if (event.name === name) {
      found.push(event)
    }
  }
  return found
}

function last (events, without) {
  if (events.length === 0) {
    throw new Error(without)
  }
  return events.at(-1)
}

/** Waits for the end of a job that sends this message to peers. At least one of them must take it. */
async function deliver (events, message) {
  const answers = await all(events, 'PEER_RESPONSE')
  if (!answers.some(({ messageName }) => messageName === message)) {
    throw new Error('no peer has stored it')
  }
  return []
}

function unhex (text) {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) {
    throw new Error(`not hexadecimal: ${text}`)
  }
  return Uint8Array.from(Buffer.from(text, 'hex'))
}

function hex (bytes) {
  return Buffer.from(bytes).toString('hex')
}
