//! What the nodes answer: honest ones ask their core, the others lie.

use bootstrap::kad::{Key, PeerInfo, Reply, Request, RequestId, Response};

use super::{Addr, Id, Nature, Network, What};

impl Network {
    pub(super) fn serve(
        &mut self,
        from: usize,
        to: Option<Id>,
        request: RequestId,
        message: Request<Id, Addr>,
    ) {
        let (now, latency) = (self.now, self.latency());
        let Some(to) = to
            .and_then(|to| self.index.get(&to).copied())
            .filter(|to| self.nodes[*to].alive && self.connected)
        else {
            // Half of the dead hosts refuse, the others are silent.
            if self.random().is_multiple_of(2) {
                self.after(latency, What::Failed { to: from, request });
            }
            return;
        };
        let (sender, remote) = (self.nodes[from].id, self.nodes[from].address);
        let response = match self.nodes[to].nature {
            Nature::Honest => {
                let kad = &mut self.nodes[to].kad;
                let reply = kad.handle_request(now, &sender, Some(&remote), message);
                kad.handle_identified(now, &sender, vec![remote], true);
                self.settle(to);
                match reply {
                    Reply::Answer(response) => Some(response),
                    Reply::Silence => Some(Response::Empty),
                    _ => None,
                }
            }
            nature => Some(self.lie(nature, message)),
        };
        let from_address = self.nodes[to].address;
        match response {
            Some(response) => self.after(
                latency,
                What::Response {
                    to: from,
                    request,
                    from: from_address,
                    response,
                },
            ),
            None => self.after(latency, What::Failed { to: from, request }),
        }
    }

    /// The honest nodes that are alive, by their distance from a key.
    pub(crate) fn nearest(&self, key: &Key, count: usize) -> Vec<Id> {
        let alive = self
            .nodes
            .iter()
            .filter(|node| node.alive && node.nature == Nature::Honest);
        let mut ids: Vec<_> = alive
            .map(|node| (node.key.distance(key), node.id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().take(count).map(|(_, id)| id).collect()
    }

    fn lie(&mut self, nature: Nature, message: Request<Id, Addr>) -> Response<Id, Addr> {
        let (Request::FindNode { key } | Request::GetValue { key } | Request::GetProviders { key }) =
            &message
        else {
            return match message {
                Request::PutValue { record } => Response::PutValue { record },
                _ => Response::Empty,
            };
        };
        let target = Key::of(key);
        let closer = if nature == Nature::Liar {
            (0..60)
                .map(|_| {
                    PeerInfo::new(Id(self.random() | 1 << 63), vec![Addr([9, 9, 9, 9].into())])
                })
                .collect()
        } else {
            let mut nearest: Vec<_> = self
                .accomplices
                .iter()
                .map(|(key, info)| (key.distance(&target), info))
                .collect();
            let count = nearest.len().min(20);
            if count > 0 {
                nearest.select_nth_unstable_by_key(count - 1, |(distance, _)| *distance);
            }
            nearest[..count]
                .iter()
                .map(|(_, info)| (*info).clone())
                .collect()
        };
        match message {
            Request::GetValue { .. } => Response::GetValue {
                record: None,
                closer,
            },
            Request::GetProviders { .. } => Response::GetProviders {
                providers: vec![],
                closer,
            },
            _ => Response::FindNode { closer },
        }
    }
}
