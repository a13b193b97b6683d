// Requests on which readers of HTTP have disagreed, byte by byte: name, bytes, the statuses that answer them, which packets of them reach the
// session, and whether the connection stays. SID stands for the session's, which is as long.

export const SID = "S".repeat(20);
const TARGET = `/engine.io/?EIO=4&transport=polling&sid=${SID}`;
const PAIR = "\r\n";

const lines = (...all) => `${all.join(PAIR)}${PAIR}${PAIR}`;
const post = (headers, body) => lines(`POST ${TARGET} HTTP/1.1`, "Host: x", ...headers) + body;
/** A request that must not be one where it is hidden. */
const SMUGGLED = post(["Content-Length: 9"], "4smuggled");
const OWN = post(["Content-Length: 4"], "4own");
const CHUNKED = "Transfer-Encoding: chunked";
const LAST = `0${PAIR}${PAIR}`;
const HIDDEN = `${SMUGGLED.length.toString(16)}${PAIR}${SMUGGLED}${PAIR}${LAST}`;
const length = (value) => post([`Content-Length: ${value}`], "4own");
const coding = (value, ...more) => post([`Transfer-Encoding: ${value}`, ...more], LAST + SMUGGLED);
const chunks = (body) => post([CHUNKED], body);
const get = (headers, body = "") => lines("GET /engine.io/?EIO=4&transport=polling HTTP/1.1", "Host: x", ...headers) + body;
const line = (text, ...headers) => lines(text, "Host: x", ...headers);
const started = (text) => line(text.replace("*", "/engine.io/?EIO=4&transport=polling"));

const OK = [[200], ["own"], true];
const NO = [[400], [], false];
const NOTHING = [[200], [], true];

export const CASES = [
  // ---- where a body ends
  ["a length", length("4"), ...OK],
  ["a length with zeros", length("0004"), ...OK],
  ["a length between blanks", length(" \t4\t "), ...OK],
  ["a length that is signed", length("+4"), ...NO],
  ["a length that is negative", length("-4"), ...NO],
  ["a length in another base", length("0x4"), ...NO],
  ["a length in octal, as some write it", length("0o4"), ...NO],
  ["a length with a fraction", length("4.0"), ...NO],
  ["a length with an exponent", length("4e0"), ...NO],
  ["a length with an underscore", length("0_4"), ...NO],
  ["a length with a blank in it", length("0 4"), ...NO],
  ["a length with a parameter", length("4;x=y"), ...NO],
  ["a length in quotes", length('"4"'), ...NO],
  ["a length that is empty", length(""), ...NO],
  ["a length that is a word", length("four"), ...NO],
  ["a list of equal lengths", length("4, 4"), ...NO],
  ["a list of lengths", length("4, 5"), ...NO],
  ["a list with nothing in it", length("4,"), ...NO],
  ["two equal lengths", post(["Content-Length: 4", "Content-Length: 4"], "4own"), ...NO],
  ["two lengths", post(["Content-Length: 4", "Content-Length: 0"], "4own"), ...NO],
  ["a length beyond 64 bits", length("18446744073709551620"), [413], [], false],
  ["a length beyond 32 bits", length("4294967300"), [413], [], false],
  ["a name with a blank behind it", post(["Content-Length : 4"], "4own"), ...NO],
  ["a name with a tab behind it", post(["Content-Length\t: 4"], "4own"), ...NO],
  ["a name with a blank before it, first of all", lines(`POST ${TARGET} HTTP/1.1`, " Content-Length: 4", "Host: x") + "4own", ...NO],
  ["a length on a continued line", post(["Content-Length:", " 4"], "4own"), ...NO],
  ["a length continued", post(["Content-Length: 4", " 0"], "4own"), ...NO],

  // ---- a length and chunks: CL.TE, TE.CL, TE.TE
  ["a length, then chunks", post(["Content-Length: 5", CHUNKED], LAST + SMUGGLED), ...NO],
  ["chunks, then a length", post([CHUNKED, "Content-Length: 5"], LAST + SMUGGLED), ...NO],
  ["chunks, and a length of all", post([CHUNKED, `Content-Length: ${HIDDEN.length}`], HIDDEN), ...NO],
  ["no length, and chunks", post(["Content-Length: 0", CHUNKED], LAST + SMUGGLED), ...NO],
  ["chunks on two lines", coding("chunked", CHUNKED), ...NO],
  ["chunks twice", coding("chunked, chunked"), ...NO],
  ["chunks and identity", coding("chunked, identity"), ...NO],
  ["chunks, and identity on a line of its own", coding("chunked", "Transfer-Encoding: identity"), ...NO],
  ["identity and chunks", coding("identity, chunked"), [501], [], false],
  ["gzip and chunks", coding("gzip, chunked"), [501], [], false],
  ["gzip alone", coding("gzip"), ...NO],
  ["identity alone", coding("identity"), ...NO],
  ["a coding that ends like chunks", coding("xchunked"), ...NO],
  ["a coding that begins like chunks", coding("chunkedx"), ...NO],
  ["chunks in quotes", coding('"chunked"'), ...NO],
  ["chunks with a parameter", coding("chunked;x=y"), ...NO],
  ["chunks with a comma", coding("chunked,"), ...NO],
  ["chunks with a vertical tab before", coding("\u000bchunked"), ...NO],
  ["chunks with a form feed behind", coding("chunked\f"), ...NO],
  ["chunks with a NUL behind", coding("chunked\0"), ...NO],
  ["chunks with a carriage return behind", coding("chunked\r"), ...NO],
  ["chunks on a continued line", post(["Transfer-Encoding:", " chunked"], LAST + SMUGGLED), ...NO],
  ["chunks behind a bare line feed", post([`X: y\n${CHUNKED}`], LAST + SMUGGLED), ...NO],
  ["chunks behind a bare carriage return", post([`X: y\r${CHUNKED}`], LAST + SMUGGLED), ...NO],
  ["chunks, a blank before the colon", post(["Transfer-Encoding : chunked"], LAST + SMUGGLED), ...NO],
  ["chunks, in a name with an underscore, and a length", post(["Transfer_Encoding: chunked", "Content-Length: 4"], "4own"), ...OK],
  ["chunks in HTTP/1.0", chunks(`4${PAIR}4own${PAIR}${LAST}`).replace("HTTP/1.1", "HTTP/1.0"), ...NO],

  // ---- chunks
  ["one chunk", chunks(`4${PAIR}4own${PAIR}${LAST}`), ...OK],
  ["four chunks", chunks(["4", "o", "w", "n"].map((byte) => `1${PAIR}${byte}${PAIR}`).join("") + LAST), ...OK],
  ["chunks in capitals, and sizes with zeros", post(["TRANSFER-ENCODING: CHUNKED"], `0004${PAIR}4own${PAIR}000${PAIR}${PAIR}`), ...OK],
  ["chunks, and the next request", chunks(`4${PAIR}4own${PAIR}${LAST}`) + OWN, [200, 200], ["own", "own"], true],
  ["a chunk with an extension", chunks(`4;x=y${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk with an extension that hides a line", chunks(`4;x="${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk with a blank behind its size", chunks(`4 ${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk with a blank before its size", chunks(` 4${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk with a sign", chunks(`+4${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk of a negative size", chunks(`-4${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk in another notation", chunks(`0x4${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk with an underscore", chunks(`0_4${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk without a size", chunks(`${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk whose size has 17 digits", chunks(`00000000000000004${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk beyond 64 bits", chunks(`10000000000000004${PAIR}4own${PAIR}${LAST}`), [413], [], false],
  ["a chunk's size with a bare line feed", chunks(`4\n4own${PAIR}${LAST}`), ...NO],
  ["a chunk's size with a bare carriage return", chunks(`4\r4own${PAIR}${LAST}`), ...NO],
  ["a chunk with a bare line feed at its end", chunks(`4${PAIR}4own\n${LAST}`), ...NO],
  ["a chunk that is longer than its size", chunks(`3${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a chunk that is shorter than its size", chunks(`5${PAIR}4own${PAIR}${LAST}`), ...NO],
  ["a trailer", chunks(`4${PAIR}4own${PAIR}0${PAIR}X: y${PAIR}${PAIR}`), ...NO],
  ["a trailer that is a request", chunks(`4${PAIR}4own${PAIR}0${PAIR}${SMUGGLED}`), ...NO],
  ["the last chunk with a bare line feed", chunks(`4${PAIR}4own${PAIR}0\n\n`), ...NO],

  // ---- lines
  ["bare line feeds", OWN.replaceAll(PAIR, "\n"), ...NO],
  ["one bare line feed", OWN.replace(`x${PAIR}`, "x\n"), ...NO],
  ["a bare line feed behind the request line", OWN.replace(`HTTP/1.1${PAIR}`, "HTTP/1.1\n"), ...NO],
  ["a bare line feed at the end of the head", OWN.replace(`${PAIR}${PAIR}`, `${PAIR}\n`), ...NO],
  ["two carriage returns", OWN.replace(`x${PAIR}`, `x\r${PAIR}`), ...NO],
  ["a folded header", post(["X: y", " z", "Content-Length: 4"], "4own"), ...NO],
  ["a header folded with a tab", post(["X: y", "\tz", "Content-Length: 4"], "4own"), ...NO],
  ["a NUL in a value", post(["X: y\0z", "Content-Length: 4"], "4own"), ...NO],
  ["a NUL in a name", post(["X\0: y", "Content-Length: 4"], "4own"), ...NO],
  ["a NUL in the target", OWN.replace(SID, `${SID}\0`), ...NO],
  ["a delete in a value", post(["X: y\x7fz", "Content-Length: 4"], "4own"), ...NO],
  ["a header without a colon", post(["X", "Content-Length: 4"], "4own"), ...NO],
  ["a header without a name", post([": y", "Content-Length: 4"], "4own"), ...NO],
  ["a header without a value", post(["X:", "Content-Length: 4"], "4own"), ...OK],
  ["a name with a blank in it", post(["X y: z", "Content-Length: 4"], "4own"), ...NO],
  ["a name with brackets", post(["X(y): z", "Content-Length: 4"], "4own"), ...NO],
  ["an empty line before", PAIR + OWN, ...OK],
  ["a line feed behind a body, as old clients send it", `${OWN}${PAIR}${OWN}`, [200, 200], ["own", "own"], true],
  ["a blank before the method", ` ${OWN}`, ...NO],

  // ---- request lines
  ["a target as to a proxy", started("GET http://x* HTTP/1.1"), ...NOTHING],
  ["a target as to a proxy, of another host", started("GET http://other.example* HTTP/1.1"), ...NOTHING],
  ["a target that is a host and a port", line("CONNECT x:80 HTTP/1.1"), [405], [], true],
  ["a target that is a star", line("OPTIONS * HTTP/1.1"), [405], [], true],
  ["a target without its slash", line("GET engine.io/ HTTP/1.1"), [404], [], true],
  ["no target", line("GET HTTP/1.1"), ...NO],
  ["two targets", line("GET / / HTTP/1.1"), [505], [], false],
  ["two blanks", started("GET  * HTTP/1.1"), ...NO],
  ["tabs", started("GET\t*\tHTTP/1.1"), ...NO],
  ["a blank behind the version", started("GET * HTTP/1.1 "), ...NO],
  ["no version", started("GET *"), ...NO],
  ["a version in small letters", started("GET * http/1.1"), [505], [], false],
  ["HTTP/1.10", started("GET * HTTP/1.10"), ...NO],
  ["HTTP/01.1", started("GET * HTTP/01.1"), [505], [], false],
  ["HTTP/1.2", started("GET * HTTP/1.2"), [505], [], false],
  ["HTTP/2.0", started("GET * HTTP/2.0"), [505], [], false],
  ["HTTP/0.9", "GET /\r\n\r\n", ...NO],
  ["HTTP/1.0", started("GET * HTTP/1.0"), [200], [], false],
  ["HTTP/1.0 that is kept", line("GET /engine.io/?EIO=4&transport=polling HTTP/1.0", "Connection: keep-alive"), ...NOTHING],
  ["HTTP/1.0 without a host", lines("GET /engine.io/?EIO=4&transport=polling HTTP/1.0"), [200], [], false],
  ["no host", lines("GET /engine.io/?EIO=4&transport=polling HTTP/1.1"), ...NO],
  ["two hosts", get(["Host: x"]), ...NO],
  ["an empty host", get([]).replace("Host: x", "Host:"), ...NOTHING],

  // ---- one behind the other
  ["three in a segment", OWN.repeat(3), [200, 200, 200], ["own", "own", "own"], true],
  ["a request behind the last", OWN.replace("Host: x", `Host: x${PAIR}Connection: close`) + SMUGGLED, [200], ["own"], false],
  ["a request behind the last of HTTP/1.0", OWN.replace("HTTP/1.1", "HTTP/1.0") + SMUGGLED, [200], ["own"], false],
  ["a request behind one that is refused", length("+4") + SMUGGLED, ...NO],
  ["a request in the body of a GET", get([`Content-Length: ${SMUGGLED.length}`], SMUGGLED), [200], [], false],
  ["a request in the chunks of a GET", get([CHUNKED], HIDDEN), [200], [], false],
  ["a request in the body of a HEAD", get([`Content-Length: ${SMUGGLED.length}`], SMUGGLED).replace("GET", "HEAD"), [400], [], false],
  ["a request in the body of a PUT", OWN.replace("POST", "PUT").replace(": 4", `: ${SMUGGLED.length}`).replace("4own", SMUGGLED), [500], [], false],
  ["a request in the body of another path", line("POST /nowhere HTTP/1.1", `Content-Length: ${SMUGGLED.length}`) + SMUGGLED, [405], [], false],
  ["a request in the body of an upgrade to something else", get(["Connection: Upgrade", "Upgrade: h2c", `Content-Length: ${SMUGGLED.length}`], SMUGGLED), [200], [], false],
  ["HEAD, and a GET behind it", get([]).replace("GET", "HEAD") + get([]), [400, 200], [], true],
  ["a method in small letters", OWN.replace("POST", "post"), [500], [], false],

  // ---- Expect
  ["Expect: 100-continue, and the body already here", post(["Expect: 100-continue", "Content-Length: 4"], "4own"), ...OK],
  ["Expect: 100-continue in HTTP/1.0", post(["Expect: 100-continue", "Content-Length: 4"], "4own").replace("HTTP/1.1", "HTTP/1.0"), [200], ["own"], false],
  ["Expect: 100-continue without a body", get(["Expect: 100-continue"]), ...NOTHING],
  ["Expect: something else", post(["Expect: more", "Content-Length: 4"], "4own"), ...OK],
  ["Expect: 100-continue, and a body that is too large", post(["Expect: 100-continue", "Content-Length: 4000000"], ""), [413], [], false],
  ["Expect: 100-continue, and a length that is none", post(["Expect: 100-continue", "Content-Length: 4, 4"], ""), ...NO],
];
