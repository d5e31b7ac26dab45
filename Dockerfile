# syntax=docker/dockerfile:1

# The build runs on the builder's own platform and compiles for the target's.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/go/build-cache \
    GOCACHE=/go/build-cache CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    mkdir -p /out/checkpoint && go build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/forgeauth/forgeauth.version=$VERSION" -o /out/forgeauth ./cmd/forgeauth

# Nothing but the program and the certificate authorities: no shell, no package manager, and nothing to write to but a folder for the
# newest signed checkpoint, for which there is to be a volume.
FROM scratch
ARG VERSION=
LABEL org.opencontainers.image.title="forgeauth" \
      org.opencontainers.image.description="Keeps one operator's sign-ins to code forges as an append-only log in Postgres" \
      org.opencontainers.image.source="https://github.com/forgeauth/forgeauth" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# On the PATH that a runtime assumes, so that `docker compose exec forgeauth forgeauth setup-code` finds it.
COPY --from=build /out/forgeauth /usr/local/bin/forgeauth
COPY LICENSE /LICENSE
COPY --from=build --chown=65532:65532 /out/checkpoint /checkpoint
# A number, so that an orchestrator can see that it is not root.
USER 65532:65532
# To be reached from outside the container, serve needs FORGEAUTH_LISTEN=:8080 and with it FORGEAUTH_PUBLIC_URL; and it needs
# DATABASE_URL, since the embedded Postgres has no place in this image. docker-compose.yml sets all three.
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["/usr/local/bin/forgeauth", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/forgeauth"]
CMD ["serve"]
