//! Files that are served from memory: the room page, which is built in, and the official browser client, which is read once, at the start.
//!
//! Names are compared, not opened: nothing of a request reaches the file system.

use crate::codec::http::{Head, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::Bytes;
use sha1::{Digest, Sha1};
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The most bytes of one file; the largest of version 4.8.4 has 307,898.
const MOST: u64 = 4 << 20;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const SCRIPT: &str = "application/javascript; charset=utf-8";
const MAP: &str = "application/json; charset=utf-8";

/// Scripts, styles and connections of this origin and nothing else; no markup from strings, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file in memory.
struct File {
    kind: &'static str,
    cache: &'static str,
    etag: String,
    body: Bytes,
}

impl File {
    /// The file, or 304 where the browser has it. Proxies that compress make a tag weak.
    fn respond(&self, head: &Head) -> Response {
        let has = head.headers.get("if-none-match");
        if has.is_some_and(|tag| tag.strip_prefix("W/").unwrap_or(tag) == self.etag) {
            return Response::new(304);
        }
        Response::new(200)
            .header("Content-Type", self.kind)
            .header("Cache-Control", self.cache)
            .header("ETag", self.etag.clone())
            .body(self.body.clone())
    }
}

/// The room page, as it was when the program was built.
pub struct Page {
    files: [(&'static str, File); 4],
}

impl Default for Page {
    fn default() -> Page {
        Page::with_client_at(CLIENT_AT)
    }
}

/// Where the browser client is, unless `SOCKET_PATH` says something else.
const CLIENT_AT: &str = "/socket.io/";

impl Page {
    /// The page, which takes the browser client from below this path, and connects there.
    #[must_use]
    pub fn with_client_at(path: &str) -> Page {
        let file = |kind, text: &str| {
            let digest = BASE64_STANDARD_NO_PAD.encode(Sha1::digest(text));
            File {
                kind,
                cache: "no-cache",
                etag: format!("\"{digest}\""),
                body: Bytes::copy_from_slice(text.as_bytes()),
            }
        };
        Page {
            files: [
                ("/", file(HTML, &include_str!("page/index.html").replace(CLIENT_AT, path))),
                ("/page.css", file(CSS, include_str!("page/page.css"))),
                ("/page.js", file(SCRIPT, include_str!("page/page.js"))),
                ("/page.svg", file(SVG, include_str!("page/page.svg"))),
            ],
        }
    }

    /// The answer, if the path is one of the page's.
    pub fn respond(&self, head: &Head) -> Option<Response> {
        let (_, file) = self.files.iter().find(|(path, _)| *path == head.path())?;
        let response = file.respond(head);
        Some(match response.status {
            200 => response
                .header("Content-Security-Policy", POLICY)
                .header("X-Content-Type-Options", "nosniff")
                .header("Referrer-Policy", "no-referrer"),
            _ => response,
        })
    }
}

/// The names of the official browser client's files, which stand in one folder with the package's `package.json`.
const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.min.js",
    "socket.io.esm.min.js",
    "socket.io.msgpack.min.js",
    "socket.io.js.map",
    "socket.io.min.js.map",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js.map",
];

/// What says of which version they are.
const PACKAGE: &str = "package.json";

/// The official browser client.
#[derive(Default)]
pub struct Client {
    /// In the order of [`NAMES`]; empty without a folder.
    files: Vec<File>,
    /// Below which path they are; `None`: [`CLIENT_AT`].
    path: Option<String>,
}

/// Why the client's files can't be served.
#[derive(Debug)]
pub struct ClientError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: io::Error,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClientError { path, error } = self;
        write!(f, "the browser client can't be read: {}: {error}; scripts/client-files fetches it", path.display())
    }
}

impl std::error::Error for ClientError {}

impl Client {
    /// The client in `folder`, or in `client-files` where the program was started or where it lies. None of them there is no error: the
    /// server does without.
    #[must_use]
    pub fn find(folder: Option<&Path>) -> (Client, Option<ClientError>) {
        let name = "client-files";
        let beside = || std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(name)));
        let found = match folder {
            Some(folder) => Some(folder.to_owned()),
            None => [Some(PathBuf::from(name)), beside()]
                .into_iter()
                .flatten()
                .find(|folder| folder.join(PACKAGE).is_file()),
        };
        match found.map(|folder| Client::read(&folder)) {
            None => (Client::default(), None),
            Some(Ok(client)) => (client, None),
            Some(Err(error)) => (Client::default(), Some(error)),
        }
    }

    /// All of the client's files, or none.
    fn read(folder: &Path) -> Result<Client, ClientError> {
        let read = |name: &str| {
            let path = folder.join(name);
            read_file(&path).map_err(|error| ClientError { path, error })
        };
        let package: serde_json::Value = serde_json::from_slice(&read(PACKAGE)?).unwrap_or_default();
        let version = package.get("version").and_then(serde_json::Value::as_str);
        let plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte));
        let Some(version) = version.filter(plain) else {
            let error = io::Error::new(io::ErrorKind::InvalidData, "no version");
            return Err(ClientError { path: folder.join(PACKAGE), error });
        };
        let file = |name: &&str| {
            let kind = if name.ends_with(".map") { MAP } else { SCRIPT };
            let body = Bytes::from(read(name)?);
            Ok(File { kind, cache: "public, max-age=0", etag: format!("\"{version}\""), body })
        };
        Ok(Client { files: NAMES.iter().map(file).collect::<Result<Vec<File>, ClientError>>()?, path: None })
    }

    /// The same files below another path, which ends with a slash.
    #[must_use]
    pub fn at(self, path: &str) -> Client {
        Client { path: Some(path.to_owned()), ..self }
    }

    /// The answer, if the path names one of the client's files.
    pub fn respond(&self, head: &Head) -> Option<Response> {
        let name = head.path().strip_prefix(self.path.as_deref().unwrap_or(CLIENT_AT))?;
        let at = NAMES.iter().position(|known| *known == name)?;
        Some(match self.files.get(at) {
            Some(file) => file.respond(head),
            None => Response::new(404)
                .header("Content-Type", "text/plain; charset=utf-8")
                .header("Cache-Control", "no-store")
                .body("This server has no browser client to give out: run scripts/client-files and start it again (CLIENT_DIR names another folder).\n"),
        })
    }
}

/// A file of bounded size, and nothing that only looks like a file.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file"));
    }
    let mut content = Vec::new();
    if std::fs::File::open(path)?.take(MOST + 1).read_to_end(&mut content)? as u64 > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too large"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http;

    /// A folder of its own, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("rill-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn filled(name: &str) -> Folder {
            let folder = Folder::new(name);
            folder.write("package.json", r#"{"name":"socket.io-client","version":"4.8.4"}"#);
            NAMES.iter().for_each(|name| folder.write(name, &format!("// {name}")));
            folder
        }

        fn write(&self, name: &str, content: &str) {
            std::fs::write(self.0.join(name), content).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn head(line: &str, tag: Option<&str>) -> Head {
        let tag = tag.map(|tag| format!("If-None-Match: {tag}\r\n")).unwrap_or_default();
        http::parse(format!("{line} HTTP/1.1\r\nHost: x\r\n{tag}\r\n").as_bytes(), 9).unwrap()
    }

    fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    #[test]
    fn the_client_has_exactly_these_names() {
        let folder = Folder::filled("names");
        let (client, trouble) = Client::find(Some(&folder.0));
        assert!(trouble.is_none());
        for name in NAMES {
            let response = client.respond(&head(&format!("GET /socket.io/{name}?v=1"), None)).unwrap();
            assert_eq!((response.status, &*response.body), (200, format!("// {name}").as_bytes()));
            assert_eq!(header(&response, "ETag"), Some("\"4.8.4\""));
            assert_eq!(header(&response, "Cache-Control"), Some("public, max-age=0"));
            let kind = if name.ends_with("map") { MAP } else { SCRIPT };
            assert_eq!(header(&response, "Content-Type"), Some(kind));
        }
        for path in [
            "/socket.io/",
            "/socket.io/socket.io.js/",
            "/socket.io/Socket.io.js",
            "/socket.io/socket.io.js.",
            "/socket.io/socket.io.min.jsx",
            "/socket.io/x/socket.io.js",
            "/socket.io//socket.io.js",
            "/socket.io/../socket.io/socket.io.js",
            "/socket.io/socket%2eio.js",
            "/socket.io/package.json",
            "/socket.io.js",
        ] {
            assert_eq!(client.respond(&head(&format!("GET {path}"), None)), None, "{path}");
        }
    }

    #[test]
    fn who_has_it_is_told_so() {
        let folder = Folder::filled("tags");
        let (client, _) = Client::find(Some(&folder.0));
        for (tag, status) in [
            ("\"4.8.4\"", 304),
            ("W/\"4.8.4\"", 304),
            ("4.8.4", 200),
            ("\"4.8.3\"", 200),
            ("\"4.8.3\", \"4.8.4\"", 200),
            ("W/W/\"4.8.4\"", 200),
            ("*", 200),
        ] {
            let response = client.respond(&head("GET /socket.io/socket.io.js", Some(tag))).unwrap();
            assert_eq!((response.status, response.body.is_empty()), (status, status == 304), "{tag}");
            assert!(status == 200 || response.headers.is_empty());
        }
    }

    #[test]
    fn without_all_files_there_is_none_and_the_text_says_what_helps() {
        let folder = Folder::filled("missing");
        let refused = |what: &str| {
            let (client, trouble) = Client::find(Some(&folder.0));
            let trouble = trouble.map(|trouble| trouble.to_string()).unwrap_or_default();
            assert!(trouble.contains(what) && trouble.contains("scripts/client-files"), "{trouble}");
            let response = client.respond(&head("GET /socket.io/socket.io.min.js", None)).unwrap();
            assert_eq!(response.status, 404);
            assert!(String::from_utf8_lossy(&response.body).contains("scripts/client-files"));
            assert_eq!(client.respond(&head("GET /socket.io/", None)), None);
        };
        for package in ["", "{}", "[", r#"{"version":4}"#, r#"{"version":"4\"\r\nX: y"}"#] {
            folder.write("package.json", package);
            refused("package.json: no version");
        }
        folder.write("package.json", r#"{"version":"4.8.4"}"#);
        folder.write("socket.io.js.map", &"x".repeat(MOST as usize + 1));
        refused("socket.io.js.map: too large");
        std::fs::remove_file(folder.0.join("socket.io.js.map")).unwrap();
        refused("socket.io.js.map: ");
        std::fs::create_dir(folder.0.join("socket.io.js.map")).unwrap();
        refused("socket.io.js.map: not a file");
    }

    #[test]
    fn the_page_is_what_it_names() {
        let page = Page::default();
        let index = page.respond(&head("GET /?room=tea", None)).unwrap();
        let text = String::from_utf8(index.body.to_vec()).unwrap();
        for path in ["/page.css", "/page.js", "/page.svg"] {
            assert!(text.contains(&format!("\"{path}\"")), "{path}");
            assert_eq!(page.respond(&head(&format!("GET {path}"), None)).unwrap().status, 200);
        }
        assert!(text.contains("\"/socket.io/socket.io.min.js\"") && text.contains("href=\"/readyz\""));
        assert!(!text.contains(" style=") && !text.contains("<style"), "what the policy forbids");
        assert!(!header(&index, "Content-Security-Policy").unwrap().contains("unsafe"));
        let tag = header(&index, "ETag");
        assert_eq!(page.respond(&head("GET /", tag)).unwrap().status, 304);
        assert_eq!(page.respond(&head("GET /page.html", None)), None);
        let elsewhere = Page::with_client_at("/chat/").respond(&head("GET /", None)).unwrap();
        assert!(String::from_utf8_lossy(&elsewhere.body).contains("\"/chat/socket.io.min.js\""));
        let client = Client::default().at("/chat/");
        assert!(client.respond(&head("GET /chat/socket.io.js", None)).is_some());
        assert_eq!(client.respond(&head("GET /socket.io/socket.io.js", None)), None);
    }
}
