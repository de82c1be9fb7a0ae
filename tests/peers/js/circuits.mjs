// Being a relay, being behind one, and bytes that a peer sends back.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { circuitRelayServer } from '@libp2p/circuit-relay-v2'

const ECHO = '/bowline-echo/1'

// The bytes repeat after this many, which is prime, so that a lost or doubled block does not go unseen.
const PERIOD = 251

const BLOCK = 16 * 1024

// How long to wait before a relay that refused is asked again.
const AGAIN_MS = 500

/** The service of a relay with the stack's defaults but for the bytes of a circuit. */
export function relayService (data) {
  return circuitRelayServer({ reservations: data === undefined ? {} : { defaultDataLimit: BigInt(data) } })
}

/** Holds a slot at the relay; the stack renews it. */
export async function keepReserved (node, relay, print) {
  const circuits = () => node.getMultiaddrs().map(String).filter(address => address.includes('/p2p-circuit'))
  for (;;) {
    try {
      await node.components.transportManager.listen([relay.encapsulate('/p2p-circuit')])
      print({ event: 'reserved', relay: relayOf(relay), renewal: false, addresses: circuits() })
      return
    } catch (error) {
      print({ event: 'refused', message: [error, ...error.errors ?? []].map(told).join(': ') })
      await sleep(AGAIN_MS)
    }
  }
}

function relayOf (relay) {
  return relay.getComponents().findLast(({ name }) => name === 'p2p')?.value
}

/** Echoes every stream, over limited connections too, and says how it ended. */
export async function serveEcho (node, print) {
  await node.handle(ECHO, async (stream, connection) => {
    let bytes = 0
    let end = 'eof'
    try {
      for await (const chunk of stream) {
        await send(stream, chunk.subarray())
        bytes += chunk.byteLength
      }
      // A stream whose connection is lost ends as if all had been read.
      if (connection.status !== 'open') {
        end = `the connection is ${connection.status}`
      } else {
        await stream.close()
      }
    } catch (error) {
      end = told(error)
      stream.abort(error)
    }
    print({ event: 'served', peer_id: connection.remotePeer.toString(), bytes, end })
  }, { runOnLimitedConnection: true })
}

/** Some of the stack's errors have no message, and a stream that is lost while it is full rejects with an event. */
function told (error) {
  return error.message || error.error?.message || error.name || error.type
}

async function send (stream, bytes) {
  if (!stream.send(bytes)) {
    await stream.onDrain()
  }
}

/**
 * Has the remote echo some bytes. Where the stream ends before they are all back, says so and waits for the connection's
 * end.
 */
export async function echo (node, remote, bytes, print) {
  const connection = await node.dial(remote)
  const closed = connection.status === 'open' ? once(connection, 'close') : Promise.resolve()
  const stream = await connection.newStream(ECHO, { runOnLimitedConnection: true })
  const progress = { sent: 0, received: 0 }
  const [written, read] = await Promise.allSettled([write(stream, bytes, progress), receive(stream, progress)])
  if (progress.differs !== undefined) {
    throw new Error(`the byte ${progress.differs} came back as another`)
  }
  const failed = [read, written].find(({ status }) => status === 'rejected')
  if (failed === undefined && progress.received === bytes) {
    print({ event: 'echoed', bytes })
  } else {
    const reason = failed === undefined
      ? `the stream ended, the connection is ${connection.status}`
      : told(failed.reason)
    print({ event: 'cut', sent: progress.sent, received: progress.received, reason })
    await closed
  }
}

async function write (stream, bytes, progress) {
  while (progress.sent < bytes) {
    const length = Math.min(BLOCK, bytes - progress.sent)
    await send(stream, Uint8Array.from({ length }, (_, i) => (progress.sent + i) % PERIOD))
    progress.sent += length
  }
  await stream.close()
}

async function receive (stream, progress) {
  for await (const chunk of stream) {
    for (const byte of chunk.subarray()) {
      if (byte !== progress.received % PERIOD) {
        progress.differs ??= progress.received
      }
      progress.received++
    }
  }
}
