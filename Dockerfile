# syntax=docker/dockerfile:1

# Build stage: the environment from the lock file, without development tools.
FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv==0.13.8
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-dev --no-install-project
COPY gateway gateway
COPY config config
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-dev --no-editable

# Runtime stage: Python, the environment and the configuration; no compiler, no root.
FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home gateway
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY config config
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_LOG_FORMAT=json
USER 10001
EXPOSE 8000 8001
HEALTHCHECK --interval=10s --timeout=2s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=1)"]
# The gateway is process 1 and drains at SIGTERM: 5 s + 20 s, so stop it with `docker stop -t 35`.
ENTRYPOINT ["gateway"]
CMD ["run"]
