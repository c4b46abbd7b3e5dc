//! The commands for a running gateway, against scripted answers: what a real gateway seldom says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::clients::shell_command;
use crate::processes::PATIENCE;
use crate::root;

/// A server that answers each request with the next of its answers and then closes the connection.
struct Scripted {
    address: String,
    requests: Receiver<String>,
}

impl Scripted {
    /// Begins to listen. Of an answer the status and headers stand before an empty line.
    fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let (sender, requests) = mpsc::channel();
        // Ends with its last answer, or with the test.
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                sender.send(request(&stream)).ok();
                let (head, body) = answer.split_once("\n\n").unwrap_or((&answer, ""));
                let head = head.replace('\n', "\r\n");
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { address, requests }
    }

    /// Runs a command line, which finds this server, with a token.
    fn run(&self, line: &str) -> String {
        let mut command = shell_command(line, &root().join("files"));
        let output = command
            .env("WAMPGATE_ADMIN__LISTEN", &self.address)
            .env("WAMPGATE_ADMIN_TOKEN", "0123456789abcdef")
            .env("USER", "ada")
            .output()
            .unwrap();
        shown(&output).replace(&self.address, "HOST")
    }

    /// Returns the next request: its line, its headers in lower case, an empty line, its body.
    fn request(&self) -> String {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }
}

fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        request.push_str(&format!("{}\n", line.trim_end()));
        let value = line.to_ascii_lowercase();
        if let Some(value) = value.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request + std::str::from_utf8(&body).unwrap()
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    format!(
        "{}{}[exit {}]",
        text(&output.stdout),
        text(&output.stderr),
        output.status.code().unwrap()
    )
}

#[test]
fn a_token_that_is_not_taken_is_told_by_where_it_comes_from() {
    let refusal = "401 Unauthorized\nwww-authenticate: Bearer";
    let server = Scripted::start(&[refusal, refusal]);
    assert_eq!(
        server.run("wampgate list"),
        "error: the gateway at http://HOST (`admin.listen`) does not take the token of \
         WAMPGATE_ADMIN_TOKEN\n[exit 1]"
    );
    let request = server.request();
    assert!(request.starts_with("GET /realms HTTP/1.1\n"), "{request}");
    let header = "authorization: Bearer 0123456789abcdef\n";
    assert!(request.contains(header), "{request}");
    assert_eq!(
        server.run(
            "wampgate apply realm.json --token-file context.json --admin $WAMPGATE_ADMIN__LISTEN"
        ),
        "error: what context.json (--token-file) holds is no token: failed to parse header value\n\
         [exit 1]"
    );
}

#[test]
fn a_health_check_needs_no_token_and_sends_none() {
    let reasons = "503 Service Unavailable\ncontent-type: application/problem+json\n\n\
        {\"detail\": \"Not ready.\", \"reasons\": [\"realm com.a has no session\", \"the store is held\"]}";
    let server = Scripted::start(&[
        "204 No Content",
        reasons,
        reasons,
        "503 Service Unavailable",
    ]);
    assert_eq!(server.run("wampgate get ready"), "ready\n[exit 0]");
    assert!(!server.request().contains("authorization"));
    assert_eq!(
        server.run("wampgate get ready --token-file nowhere"),
        "not ready: realm com.a has no session\nnot ready: the store is held\n[exit 1]"
    );
    assert_eq!(
        server.run("wampgate get ready --format json"),
        "{\"ready\":false,\"reasons\":[\"realm com.a has no session\",\"the store is held\"]}\n[exit 1]"
    );
    assert_eq!(
        server.run("wampgate get ready"),
        "not ready: the gateway answered 503 Service Unavailable\n[exit 1]"
    );
}

#[test]
fn findings_of_a_gateway_are_shown_with_the_lines_of_the_file() {
    let refusal = "422 Unprocessable Content\ncontent-type: application/problem+json\n\n\
        {\"detail\": \"The spec has errors.\", \"errors\": [\
          {\"pointer\": \"/variables/code\", \"line\": 6, \"column\": 76, \"code\": \"M105\", \
           \"message\": \"unknown function `intger`\", \"hint\": \"did you mean `integer`?\"}, \
          {\"pointer\": \"/versions/1.0/paths/~1items~1:id/get/respones\", \"line\": 28, \"column\": 25, \
           \"code\": \"D005\", \"message\": \"unknown key `respones`\", \"hint\": null}, \
          {\"pointer\": \"/x\", \"code\": \"Z999\", \"message\": \"what only a later version knows\"}]}";
    let server = Scripted::start(&["404 Not Found", refusal]);
    let said = server.run("wampgate apply five-mistakes.json --if-revision 7");
    insta::assert_snapshot!(said, @r#"
    error[M105]: unknown function `intger`
      --> five-mistakes.json:6:76 at /variables/code
       |
     6 | "code": "{{status_codes |> get({{action.error.error_uri}}, 500) |> intger}}"
       |                                                                    ^^^^^^ did you mean `integer`?

    error[D005]: unknown key `respones`
      --> five-mistakes.json:28:25 at /versions/1.0/paths/~1items~1:id/get/respones
       |
    28 | "respones": {}
       | ^^^^^^^^^^

    error[Z999]: what only a later version knows
      --> five-mistakes.json:1:1 at /x

    error: spec com.example.mistakes is refused: 3 errors
    [exit 1]
    "#);
    assert!(
        server
            .request()
            .starts_with("GET /api_specs/com.example.mistakes HTTP")
    );
    let request = server.request();
    let sent = std::fs::read_to_string(root().join("files/five-mistakes.json")).unwrap();
    assert!(
        request.starts_with("PUT /api_specs/com.example.mistakes HTTP/1.1\n"),
        "{request}"
    );
    assert!(request.contains("\nif-match: \"7\"\n"), "{request}");
    assert!(request.contains("\nfrom: ada@"), "{request}");
    assert!(request.ends_with(&format!("\n\n{sent}")), "{request}");
}

#[test]
fn a_realm_in_a_list_has_its_findings_in_the_list() {
    let refusal = "422 Unprocessable Content\n\n\
        {\"errors\": [{\"pointer\": \"/descripton\", \"line\": 1, \"column\": 18, \"code\": \"D005\", \
           \"message\": \"unknown key `descripton`\", \"hint\": \"did you mean `description`?\"}]}";
    let created = "201 Created\n\n{\"uri\": \"com.a\", \"revision\": 3}";
    let absent = "404 Not Found";
    let server = Scripted::start(&[absent, created, absent, refusal]);
    let said = server.run(
        "printf '[\\n {\"uri\": \"com.a\"}, {\"uri\": \"com.b\", \"descripton\": \"b\"}\\n]' |\
         wampgate apply - --from 'Ada <ada@example.org>'",
    );
    insta::assert_snapshot!(said, @r#"
    created realm com.a (revision 3)
    error[D005]: unknown key `descripton`
      --> standard input:2:37 at /1/descripton
       |
     2 | {"uri": "com.a"}, {"uri": "com.b", "descripton": "b"}
       |                                    ^^^^^^^^^^^^ did you mean `description`?

    error: realm com.b is refused: 1 error
    [exit 1]
    "#);
    server.request();
    let request = server.request();
    assert!(request.ends_with("\n\n{\"uri\": \"com.a\"}"), "{request}");
    assert!(
        request.contains("\nfrom: Ada <ada@example.org>\n"),
        "{request}"
    );
}

#[test]
fn what_the_store_or_somebody_else_did_is_told_and_the_rest_is_tried() {
    let said = |status: &str, detail: &str| {
        let answer = format!("{status}\n\n{{\"detail\": \"{detail}\"}}");
        let before = "200 OK\n\n{\"revision\": 8}";
        let done = "200 OK\n\n{\"revision\": 9}";
        let server = Scripted::start(&["404 Not Found", &answer, before, done]);
        server.run("wampgate apply five-mistakes.json realm.json")
    };
    let done = "replaced spec com.example.mistakes (revision 9)\n";
    assert_eq!(
        said("503 Service Unavailable", "The store takes no writes now."),
        format!(
            "{done}error: realm com.example.other: The store takes no writes now (503 Service \
             Unavailable)\n[exit 1]"
        )
    );
    assert_eq!(
        said("409 Conflict", "A file has this realm: realms/a.json."),
        format!(
            "{done}error: realm com.example.other: A file has this realm: realms/a.json (409 \
             Conflict)\n[exit 1]"
        )
    );
}

#[test]
fn all_pages_of_a_list_are_read() {
    let first = "200 OK\ncontent-type: application/json\n\
        link: </v1.0/api_specs?cursor=b&limit=1>; rel=\"next\"\n\n\
        [{\"id\": \"a\", \"state\": \"active\", \"source\": \"store\", \"revision\": 3, \"ts\": 1403455001643}]";
    let second = "200 OK\n\n[{\"id\": \"b\", \"state\": \"rejected\", \"source\": \"file\"}]";
    let server = Scripted::start(&[first, second]);
    let said = server.run("wampgate list specs");
    assert_eq!(
        said,
        "KIND  ID  STATE     SOURCE  REVISION  CHANGED\n\
         spec  a   active    store   3         2014-06-22T16:36:41Z\n\
         spec  b   rejected  file\n[exit 0]"
    );
    assert!(server.request().starts_with("GET /api_specs HTTP"));
    assert!(
        server
            .request()
            .starts_with("GET /api_specs?cursor=b&limit=1 HTTP")
    );
}

#[test]
fn who_is_no_admin_api_is_told_to_be_none() {
    let server = Scripted::start(&["200 OK\n\n<html>", "404 Not Found"]);
    assert_eq!(
        server.run("wampgate list routes"),
        "error: the answer is no JSON: is that an admin API?: expected value at line 1, column 1\n\
         [exit 1]"
    );
    assert_eq!(
        server.run("wampgate list routes"),
        "error: the gateway answered 404 Not Found\n[exit 1]"
    );
}
