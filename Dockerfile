# The base by its digest, so that what is built again is the same: no registry can put another image
# in its place. It is renewed by hand, for Debian's and Python's own fixes (docs/how-to/docker-swarm.md).
ARG BASE=python:3.13.16-slim@sha256:3dd7cc108ec1493442514f5c2a871af6af0ec31d768ff6e378a93340c3b3db5f

# The first stage builds the wheel and an environment that holds it; nothing else of it is kept.
FROM ${BASE} AS build
WORKDIR /src

# Dependencies first: this layer changes only with the pins.
COPY requirements/build.txt requirements/runtime.txt requirements/postgres.txt requirements/
RUN python -m venv --without-pip /opt/relay \
    && pip --python /opt/relay/bin/python install \
        --no-cache-dir --only-binary :all: --require-hashes \
        -r requirements/runtime.txt -r requirements/postgres.txt \
    && pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY relay_protocol relay_protocol
COPY relay_http relay_http
COPY relay_terminal relay_terminal
COPY relay_chatwoot relay_chatwoot
COPY relay_server relay_server
COPY relay_client relay_client
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/relay/bin/python install \
        --no-cache-dir --no-deps --no-index --find-links /wheels relay-tunnel==0.1.0


FROM ${BASE}

# A fixed number, so that backups and bind mounts keep the same owner from image to image.
# A new volume takes over the owner and mode that /data has here.
RUN groupadd --gid 10001 relay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data \
        --shell /usr/sbin/nologin relay \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data /backups

COPY --from=build /opt/relay /opt/relay

# Nothing is written outside /data and /tmp: the root may be read-only.
ENV PATH=/opt/relay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RELAY_SERVER_DATA_DIR=/data \
    RELAY_SERVER_HOST=0.0.0.0

USER 10001:10001
VOLUME /data
# The ops port 8803 is not here on purpose: it listens on loopback inside the container.
EXPOSE 8802
STOPSIGNAL SIGTERM

# Asked every second until it first answers, so that an upgrade costs seconds, not an interval.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["relay-server", "health"]

ENTRYPOINT ["relay-server"]
CMD ["serve"]
