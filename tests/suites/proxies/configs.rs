//! What the servers are configured with: connections from loopback to anywhere, everything else off.

use crate::servers::{Kind, PLACE, USER, WORD};
use tests::harness::sandbox::NOBODY;

/// The password of those that read a password file, as crypt(3) stores it.
const CRYPTED: &str = "$6$bowline$mYzfwQ/BcRQUUnyacvQ71iJcjHlJED3akRlizJNPQXgD5MDXhE6njnzu5xZ863bDw7YKmLXFMHHsr8Owa/1RK0";

/// The files of a server: its configuration, and whatever that refers to.
pub(crate) fn files(kind: Kind, guarded: bool, port: u16) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Microsocks => Vec::new(),
        Kind::Dante => vec![
            ("dante.conf", dante(guarded, port)),
            ("passwd", passwd()),
            ("shadow", format!("{USER}:{CRYPTED}:1:0:99999:7:::\n")),
        ],
        Kind::Tinyproxy => vec![("tinyproxy.conf", tinyproxy(guarded, port))],
        Kind::Squid => vec![
            ("squid.conf", squid(guarded, port)),
            ("passwords", format!("{USER}:{CRYPTED}\n")),
        ],
    }
}

/// It asks the system for its users, so this is the system's list of them in there.
fn passwd() -> String {
    let nobody = format!("{NOBODY}:{NOBODY}::/:/bin/false");
    format!("root:x:0:0::/:/bin/sh\nnobody:x:{nobody}\n{USER}:x:{nobody}\n")
}

/// One rule for each family: the addresses of a rule are all of one. It leaves by the address that the way to the target
/// asks for.
fn dante(guarded: bool, port: u16) -> String {
    let method = if guarded { "username" } else { "none" };
    let pass = |targets: &str| {
        format!(
            "socks pass {{\n from: 127.0.0.1/32 to: {targets}\n command: connect\n log: connect error\n}}\n"
        )
    };
    format!(
        "errorlog: stderr
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
external: ::1
external.rotation: route
clientmethod: none
socksmethod: {method}
user.privileged: root
user.unprivileged: nobody
client pass {{
 from: 127.0.0.1/32 to: 127.0.0.1/32
}}
{}{}",
        pass("0.0.0.0/0"),
        pass("::/0")
    )
}

fn tinyproxy(guarded: bool, port: u16) -> String {
    let mut text = format!(
        "Listen 127.0.0.1
Port {port}
Timeout 60
MaxClients 20
LogLevel Connect
DisableViaHeader Yes
"
    );
    if guarded {
        text.push_str(&format!("BasicAuth {USER} {WORD}\n"));
    }
    text
}

fn squid(guarded: bool, port: u16) -> String {
    let access = if guarded {
        format!(
            "auth_param basic program /usr/lib/squid/basic_ncsa_auth {PLACE}/passwords
auth_param basic children 1 startup=1 idle=1
auth_param basic realm bowline
acl users proxy_auth REQUIRED
http_access allow users
http_access deny all"
        )
    } else {
        "http_access allow all".to_owned()
    };
    format!(
        "http_port 127.0.0.1:{port}
{access}
logformat tunnel %Ss/%>Hs %ru
access_log stdio:{PLACE}/var/access.log tunnel
cache_log {PLACE}/var/cache.log
cache deny all
cache_mem 0 MB
memory_pools off
max_filedescriptors 256
pid_filename none
coredump_dir none
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname squid.bowline.test
dns_nameservers 127.0.0.1
"
    )
}
