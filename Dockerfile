# syntax=docker/dockerfile:1

# Behind a proxy, docker passes HTTPS_PROXY and NO_PROXY by itself; they are no part of the image. A
# proxy's own CA is a secret of the build:
#   docker build --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt .
# Another base, such as one with a digest: --build-context base=docker-image://python:3.13-slim@sha256:...
FROM python:3.13-slim AS base

# Build stage: the environment from the lock file, without development tools.
FROM base AS build
WORKDIR /app
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
# uv and the build backend, with the hashes of uv.lock.
COPY image image
RUN --mount=type=secret,id=ca,target=/run/secrets/ca \
    python3 -m venv /build && \
    image/with-ca /build/bin/pip install --quiet --require-hashes -r image/requirements.txt
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    image/with-ca /build/bin/uv sync --locked --no-dev --no-install-project
COPY gateway gateway
COPY config config
RUN /build/bin/hatchling build -t wheel -d /wheel && \
    /build/bin/uv pip install --offline --no-deps --python .venv/bin/python /wheel/*.whl

# Runtime stage: Python, the environment and the configuration; no compiler, no root.
FROM base
RUN groupadd --gid 10001 gateway && \
    useradd --uid 10001 --gid 10001 --no-create-home gateway
WORKDIR /app
# The base image has no bytecode of the standard library. The gateway may not write any, so without it
# every start would compile what it imports.
RUN python3 -m compileall -q -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|site-packages|dist-packages)/' \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /app/.venv /app/.venv
COPY config config
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8000 8001
# Asks the port that the gateway listens on, and no proxy.
HEALTHCHECK --interval=10s --timeout=2s --start-period=5s \
    CMD ["python", "-I", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('GATEWAY_PORT') or 8000), timeout=1); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
# The gateway is process 1 and drains at SIGTERM: 5 s + 20 s, so stop it with `docker stop -t 35`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["run"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="aggregation-gateway" \
      org.opencontainers.image.description="An API aggregation gateway: one YAML file in, merged dashboards out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
