# syntax=docker/dockerfile:1
# The gateway's image: everything in it is installed by hash, it runs as user 10001, and it needs no file system to write
# to but /data. How to build, pin and check it: docs/deploy.md.

# A tag moves. Build releases by digest: --build-arg PYTHON_IMAGE=python:3.12-slim@sha256:…
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY deploy/image/tools.lock deploy/image/
RUN python -m venv /opt/tools \
 && /opt/tools/bin/pip install --require-hashes -r deploy/image/tools.lock
COPY requirements-runtime.lock ./
RUN python -m venv --without-pip /opt/gateway \
 && /opt/tools/bin/pip --python /opt/gateway/bin/python install --require-hashes -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY simulator simulator
RUN /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/wheels . \
 && /opt/tools/bin/pip --python /opt/gateway/bin/python install --no-deps --no-index /opt/wheels/*.whl
# Files that Python would run at every start: a package that brings one is looked at before it is let in.
RUN test -z "$(find /opt/gateway -name '*.pth')"
# What is in the image, for scanners (CycloneDX).
RUN mkdir /opt/sbom \
 && /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
    --output-file /opt/sbom/openrouter-middleware.cdx.json /opt/gateway/bin/python

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="openrouter-middleware" \
      org.opencontainers.image.description="A gateway between a team's programs and OpenRouter." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 gateway \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin gateway \
 && install -d -o gateway -g gateway -m 0700 /data
COPY --from=build /opt/sbom /usr/share/sbom
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/data DATA_DIR=/data LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/liveness' % (os.environ.get('PORT') or 8080), timeout=2)"]
CMD ["openrouter-middleware", "serve"]
