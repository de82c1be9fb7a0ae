//! The names at which the admin endpoint answers over TCP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use tests::harness::process::run;
use tests::harness::{Home, Up};

use super::{TCP, assert_refused, soon};

/// The status of the answer to a request with this `Host` header.
fn status(mut stream: impl Read + Write, host: &str) -> String {
    let request = format!("GET /status HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn over_tcp_the_admin_endpoint_answers_to_the_listed_names_and_to_no_other() {
    let home = Home::new().unwrap();
    let mut up = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
    up.args(["--admin", "127.0.0.1:0"]);
    up.env("BOWLINE_ADMIN__HOSTS", "bowline, Node.Example");
    let up = Up::start(&mut up, soon()).unwrap();
    let address = up.ready.text("admin").replace("http://", "");
    let ask = |host: &str| status(TcpStream::connect(&address).unwrap(), host);
    for host in [
        "bowline:9090",
        "bowline",
        "node.example",
        "localhost",
        "10.1.2.3:80",
    ] {
        assert_eq!(ask(host), "200", "{host}");
    }
    for host in [
        "evil.example",
        "bowline.evil.example",
        "x.bowline",
        "example",
    ] {
        assert_eq!(ask(host), "403", "{host}");
    }
    // The socket needs no names: no browser can reach it.
    let socket = UnixStream::connect(home.data_dir().join("admin")).unwrap();
    assert_eq!(status(socket, "bowline"), "403");
}

#[test]
fn a_wrong_name_in_the_list_is_named_before_anything_starts() {
    let home = Home::new().unwrap();
    for (hosts, problem) in [
        ("bowline:9090", "remove the port"),
        ("bowline,*.example", "wildcards"),
        ("10.0.0.1", "every IP address"),
    ] {
        let mut up = home.bowline_with_data(&["up", "--listen", TCP]);
        up.env("BOWLINE_ADMIN__HOSTS", hosts);
        let refused = run("bowline", &mut up, soon()).unwrap();
        let wrong = hosts.rsplit(',').next().unwrap();
        assert_refused(&refused, 2, &["BOWLINE_ADMIN__HOSTS", wrong, problem]);
    }
    assert!(!home.data_dir().exists());
}
