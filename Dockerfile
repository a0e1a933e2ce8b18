# syntax=docker/dockerfile:1
# One image with every program: `agent-orchestrator` (what it runs without a command), `orchestrator-api`,
# `orchestrator-worker` and `orchestrator-migrate`. Needs BuildKit:  docker build --tag agent-orchestrator:0.1.0 .

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY api api
COPY benches benches
COPY common common
COPY migration migration
COPY standalone standalone
COPY tests tests
COPY worker worker
# Line numbers are left out of what is shipped; names of functions stay, for backtraces.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo
# Dependencies that are built once stay in the builder's cache, as does what they were built from.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked \
      --package agent-orchestrator --package orchestrator-api --package orchestrator-worker \
      --package orchestrator-migration \
    && mkdir -p /out/bin /out/data \
    && cp target/release/agent-orchestrator target/release/orchestrator-api target/release/orchestrator-worker \
      target/release/orchestrator-migrate /out/bin/

# glibc, libgcc and the authorities that everybody trusts; no shell and no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Agent Orchestrator" \
      org.opencontainers.image.description="The control plane for AI agents" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/bin/ /usr/local/bin/
# A volume that is put here belongs to the user of the process. Nothing else is ever written: the root may be read-only.
COPY --from=build --chown=65532:65532 /out/data /var/lib/agent-orchestrator
ENV ORCHESTRATOR_DATA_DIR=/var/lib/agent-orchestrator
USER 65532:65532
VOLUME ["/var/lib/agent-orchestrator"]
EXPOSE 8200 8201 8301
# Of the program that the image runs by itself; the others have a `health` of their own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["agent-orchestrator", "health"]
# Ends as on Ctrl-C: what runs is finished or handed back.
STOPSIGNAL SIGTERM
CMD ["agent-orchestrator"]
