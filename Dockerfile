# A static binary and nothing else: no shell, no libraries, no user of its own.
# (To build from one and the same image always, give it by its digest: docs/operating.md, "The image".)
FROM rust:1-bookworm AS build
WORKDIR /rill
# Compiled once, for as long as the dependencies stay the same.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo '//! .' > src/lib.rs && printf '//! .\nfn main() {}\n' > src/main.rs
ENV RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols"
RUN cargo build --release --locked --bin rill --target "$(rustc -vV | sed -n 's/^host: //p')"
COPY LICENSE licenses/
COPY scripts/notices scripts/
RUN scripts/notices > licenses/NOTICES
COPY src src
RUN find src -name '*.rs' -exec touch {} + \
 && cargo build --release --locked --bin rill --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cp target/*/release/rill /rill/rill
# The official browser client, where scripts/client-files has fetched it, with a licence of its own. With the pattern, a folder that is not
# there is no error, but something must be copied.
COPY Cargo.toml client-file[s] /client-files/
RUN rm /client-files/Cargo.toml

FROM scratch
LABEL org.opencontainers.image.title="rill" \
      org.opencontainers.image.description="A Socket.IO server: recovery, several servers over Redis, a console" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.authors="The Rill authors" \
      org.opencontainers.image.documentation="docs/operating.md"
COPY --from=build /rill/rill /rill
# Rill's own licence, and the notices of all that is linked into it.
COPY --from=build /rill/licenses /licenses
COPY --from=build /client-files /client-files
# nobody: any number will do, there is no file to own.
USER 65534:65534
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=4s --start-period=5s --retries=3 CMD ["/rill", "health"]
ENTRYPOINT ["/rill"]
