//! Two networks joined by one cable, in sandboxes: whatever leaves the near one but does not go to the proxy in the far
//! one is counted.
//!
//! ```text
//! near: bowline ping ──► 198.51.100.2 ══ veth ══ 198.51.100.1:1080 microsocks ──► 127.0.0.1 bowline up :far
//!       all routes lead into the cable           whatever else comes is answered with a refusal
//!       names are asked of 203.0.113.53
//! ```

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::harness::bowline::{Home, PATIENCE, Up};
use tests::harness::process::Deadline;

use crate::servers::{Folder, NO_RESOLVER};
use tests::harness::sandbox::{Plan, Sandbox, succeed};

/// The proxy, as the near network reaches it.
pub(crate) const PROXY: &str = "198.51.100.1:1080";

/// A name that only the far network knows.
pub(crate) const NAME: &str = "far.bowline.test";

/// An onion address, the example of Tor's rend-spec-v3. The far network knows it like any other name.
pub(crate) const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd";

/// Addresses beyond the proxy: nobody is there, but the near network has a route to them.
pub(crate) const BEYOND: [&str; 2] = ["/ip4/203.0.113.9/tcp/9", "/ip6/2001:db8:1::9/tcp/9"];

/// The link-local address, and with it the kernel's own announcements, are left out.
const LAY_CABLE: &str = "
ip link set lo up
ip link add name cable type veth peer name cable netns FAR
ip link set cable addrgenmode none
ip address add 198.51.100.2/30 dev cable
ip address add 2001:db8::2/64 dev cable nodad
ip link set cable up
";

/// What is beyond belongs to the far network itself, so that it refuses connections at once instead of keeping silent.
const FAR_END: &str = "
ip link set lo up
ip link set cable addrgenmode none
ip address add 198.51.100.1/30 dev cable
ip address add 2001:db8::1/64 dev cable nodad
ip link set cable up
ip route add local 203.0.113.0/24 dev lo
ip -6 route add local 2001:db8:1::/64 dev lo
";

const ROUTES: &str = "
ip route add default via 198.51.100.1
ip -6 route add default via 2001:db8::1
";

/// Neighbour discovery and multicast membership are the kernel's, for the cable itself.
const WATCH: &str = "
table inet watch {
    counter proxy { }
    counter dns { }
    counter other { }
    chain leaving {
        type filter hook output priority 0;
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld2-listener-report } accept
        ip daddr 198.51.100.1 tcp dport 1080 counter name proxy accept
        udp dport 53 counter name dns accept
        tcp dport 53 counter name dns accept
        counter name other
    }
    chain coming {
        type filter hook input priority 0;
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld2-listener-report } accept
        ip saddr 198.51.100.1 tcp sport 1080 counter name proxy accept
        counter name other
    }
}
";

/// The networks, the proxy and the node in them. Dropping it ends all of them.
#[derive(Debug)]
pub(crate) struct Networks {
    pub(crate) node: Up,
    near: Sandbox,
    far: Sandbox,
    home: Home,
    _folder: Folder,
}

/// Packets that left or came since the counters were last set to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packets {
    /// To the proxy and from it.
    pub(crate) proxy: u64,
    /// To anybody's port 53.
    pub(crate) dns: u64,
    /// All others.
    pub(crate) other: u64,
}

impl Networks {
    pub(crate) fn start(microsocks: &Path) -> Result<Self> {
        let folder = Folder::new()?;
        let localhost = "127.0.0.1 localhost\n::1 localhost\n";
        folder.write("near-hosts", localhost)?;
        folder.write("near-resolv.conf", "nameserver 203.0.113.53\n")?;
        folder.write(
            "far-hosts",
            &format!("{localhost}127.0.0.1 {NAME} {ONION}.onion\n"),
        )?;
        folder.write("far-resolv.conf", NO_RESOLVER)?;
        let plan = |side: &str| {
            Plan::default()
                .with_own_network()
                .with_mount(folder.file(&format!("{side}-hosts")), "/etc/hosts")
                .with_mount(
                    folder.file(&format!("{side}-resolv.conf")),
                    "/etc/resolv.conf",
                )
        };
        let microsocks = microsocks.to_str().context("its path is not text")?;
        let proxy = [microsocks, "-i", "0.0.0.0", "-p", "1080"];
        let far = plan("far")
            .unprivileged()
            .start(&proxy, &folder.file("far-log"))?;
        let near = plan("near").start(&["sleep", "infinity"], &folder.file("near-log"))?;

        near.shell(&LAY_CABLE.replace("FAR", &far.id().to_string()))?;
        far.shell(FAR_END)?;
        near.shell(ROUTES)?;
        near.shell(&format!("nft -f - <<'END'\n{WATCH}\nEND"))?;

        let home = Home::new()?;
        let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/198.51.100.1/udp/0/quic-v1"];
        let mut up = home.bowline_with_data(&["up", "--json"]);
        up.args(listen.iter().flat_map(|address| ["--listen", address]));
        // The packets of this node's redials would count as packets that bypass the proxy.
        for setting in ["BASE_S", "ISOLATED_CAP_S", "LOST_CAP_S"] {
            up.env(format!("BOWLINE_BOOTSTRAP__{setting}"), "86400");
        }
        let node = Up::start(&mut far.inside(&up), Deadline::within(PATIENCE))?;
        Ok(Self {
            node,
            near,
            far,
            home,
            _folder: folder,
        })
    }

    /// The same command, run in the near network.
    pub(crate) fn near(&self, command: &Command) -> Command {
        self.near.inside(command)
    }

    /// What the proxy has logged.
    pub(crate) fn proxy_log(&self) -> String {
        self.far.log()
    }

    /// A home for the commands in the near network.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Sets the counters to nothing.
    pub(crate) fn forget(&self) -> Result<()> {
        self.near.shell("nft reset counters >/dev/null")
    }

    /// What was counted since.
    pub(crate) fn packets(&self) -> Result<Packets> {
        let mut nft = Command::new("nft");
        nft.args(["--json", "list", "counters"]);
        let listed = succeed(&mut self.near.inside(&nft))?.stdout.concat();
        let listed: Value = serde_json::from_str(&listed).context("nft lists no JSON")?;
        let packets = |name: &str| {
            let objects = listed["nftables"].as_array().into_iter().flatten();
            let mut counters = objects.map(|object| &object["counter"]);
            let counter = counters.find(|counter| counter["name"] == name);
            let packets = counter.and_then(|counter| counter["packets"].as_u64());
            packets.with_context(|| format!("nft lists no counter {name}"))
        };
        Ok(Packets {
            proxy: packets("proxy")?,
            dns: packets("dns")?,
            other: packets("other")?,
        })
    }
}

impl std::fmt::Display for Packets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { proxy, dns, other } = self;
        write!(f, "packets: {proxy} proxy, {dns} port 53, {other} other")
    }
}
