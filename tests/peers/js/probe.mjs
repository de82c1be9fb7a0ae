// Pings on new streams over connections that the stack chooses.
import { setTimeout as sleep } from 'node:timers/promises'

// The time that a connected peer has to answer.
const LIMIT_MS = 1_000

/** Pings every connected peer on a new stream, waits for the answers, pauses, and begins again. Prints the answers. */
export async function probe (node, pause, print) {
  while (node.status === 'started') {
    await Promise.all(node.getPeers().map(async peer => {
      const begun = performance.now()
      try {
        await node.services.ping.ping(peer, { signal: AbortSignal.timeout(LIMIT_MS) })
        print({ event: 'probed', peer_id: peer.toString(), took_us: Math.round((performance.now() - begun) * 1000) })
      } catch {
        // No answer in time: the next ping is due soon.
      }
    }))
    await sleep(pause)
  }
}
