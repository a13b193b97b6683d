# A static binary and nothing else: no shell, no libraries, no user of its own.
FROM rust:1-bookworm AS build
WORKDIR /rill
# Compiled once, for as long as the dependencies stay the same.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src/bin && echo '//! .' > src/lib.rs \
 && printf '//! .\nfn main() {}\n' | tee src/main.rs > src/bin/conformance.rs
ENV RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols"
RUN cargo build --release --locked --bin rill --target "$(rustc -vV | sed -n 's/^host: //p')"
COPY src src
RUN find src -name '*.rs' -exec touch {} + \
 && cargo build --release --locked --bin rill --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cp target/*/release/rill /rill/rill

FROM scratch
COPY --from=build /rill/rill /rill
# The official browser client, where scripts/client-files has fetched it: with the pattern, a folder that is not there is no error, but
# something must be copied.
COPY LICENSE client-file[s] /client-files/
# nobody: any number will do, there is no file to own.
USER 65534:65534
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=4s --start-period=5s --retries=3 CMD ["/rill", "health"]
ENTRYPOINT ["/rill"]
