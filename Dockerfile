# bystander in one image: the web app, the live filter and files. See docs/docker.md.
#
# build: the wheel and the libraries, in a virtual environment. runtime: that environment, Python, libsrt; nothing else.
# BASE: any Debian or Ubuntu, Python 3.10 or newer; where it has no Python, the system's own is installed.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
# what of pyproject.toml's extras is in it; openvino is faster on recent Intel processors, for 181 MB more
ARG EXTRAS=web,live
# onnxruntime-gpu==VERSION, or a wheel in docker/wheels, in the place of onnxruntime; the CUDA that it needs is BASE's
ARG ORT=onnxruntime
# compiled modules are checked by content, not by time: the same input gives the same files
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 SOURCE_DATE_EPOCH=1700000000
# the system's packages have other versions on every base
# hadolint ignore=DL3008
RUN python3 -c 'import ensurepip, venv' 2>/dev/null || { \
      apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; }
RUN python3 -m venv /build && /build/bin/pip install setuptools==84.2.1
WORKDIR /src
COPY constraints.txt ./
# the demo's portrait, in the public domain, without scikit-image and SciPy around it
RUN /build/bin/pip download --no-deps --only-binary :all: -c constraints.txt -d /portrait scikit-image \
    && python3 -m zipfile -e /portrait/*.whl /portrait/all && mv /portrait/all/skimage/data/astronaut.png /portrait.png \
    && rm -r /portrait
COPY . ./
# setuptools is pinned above: no isolated build that would take any newest one
RUN /build/bin/pip wheel --no-deps --no-build-isolation -w /wheel . \
    && python3 -m venv --without-pip /opt/bystander \
    && /build/bin/pip --python /opt/bystander/bin/python install --only-binary :all: -c constraints.txt \
       "bystander[${EXTRAS}] @ file://$(echo /wheel/*.whl)" \
    && install -D -m 644 -t /opt/bystander/share /portrait.png LICENSE docs/model-card.md \
    && if [ "${ORT}" != onnxruntime ]; then \
         /build/bin/pip --python /opt/bystander/bin/python uninstall -y onnxruntime \
         && /build/bin/pip --python /opt/bystander/bin/python install --only-binary :all: --no-deps "${ORT}"; \
       fi \
    # libraries' own tests, and what ONNX Runtime brings for making models
    && find /opt/bystander -path '*/tests/*' -name 'test_*' -type f -delete \
    && rm -rf /opt/bystander/lib/python3.*/site-packages/onnxruntime/transformers \
       /opt/bystander/lib/python3.*/site-packages/onnxruntime/quantization

FROM ${BASE}
# Debian 12 and 13, Ubuntu 24.04; empty where there is none: then without SRT
ARG SRT=libsrt1.5-gnutls
# further packages of the base's system, such as TensorRT's libraries
ARG APT=""
# hadolint ignore=DL3008,SC2046
RUN apt-get update \
    && apt-get install -y --no-install-recommends ${SRT} ${APT} $(command -v python3 >/dev/null || echo python3) \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
    && { getent passwd 1000 || useradd --uid 1000 --user-group --no-create-home --home-dir /tmp bystander; } \
    && install -d -m 1777 /work /data /cache
COPY --from=build /opt/bystander /opt/bystander
# any user may run it (--user): home and caches lie in /tmp, films of the web app in /data
ENV PATH=/opt/bystander/bin:${PATH} HOME=/tmp XDG_CACHE_HOME=/tmp XDG_DATA_HOME=/data \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 BYSTANDER_PORTRAIT=/opt/bystander/share/portrait.png
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title=bystander \
      org.opencontainers.image.description="Covers every face in a film or a stream, except the one you keep" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.source=${SOURCE}
VOLUME /data
WORKDIR /work
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
# http.client, for urllib would go by a proxy's variables; only the web app answers: others run with --no-healthcheck
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["bystander"]
CMD ["web", "--host", "0.0.0.0"]
