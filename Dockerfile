# docker build -t attestd .
# docker run --read-only --tmpfs /tmp --cap-drop ALL -p 8080:8080 -v attestd:/var/lib/attestd attestd

FROM python:3.13.11-slim-bookworm AS build
WORKDIR /src

# The build tools are locked with the development requirements, and stay in this stage.
COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-dev.lock
RUN python -m venv --without-pip /opt/attestd \
 && /opt/build/bin/pip --python /opt/attestd/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock

COPY pyproject.toml LICENSE ./
COPY attestd attestd
COPY policies policies
COPY certs certs
RUN /opt/build/bin/hatchling build -t wheel -d /dist \
 && /opt/build/bin/pip --python /opt/attestd/bin/python install --no-deps --no-index /dist/*.whl


FROM python:3.13.11-slim-bookworm
COPY --from=build /opt/attestd /opt/attestd
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/attestd

# The admin listener stays on the container's loopback.
ENV PATH=/opt/attestd/bin:$PATH \
    ATTESTD_LISTEN=0.0.0.0:8080 \
    ATTESTD_STATE_DIR=/var/lib/attestd \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /var/lib/attestd
VOLUME /var/lib/attestd
EXPOSE 8080

HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz/ready', timeout=4)"]
ENTRYPOINT ["attestd"]
CMD ["serve"]
