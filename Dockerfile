# The indexer without a database: production dependencies only, on the pinned Node of the lockfile.
FROM node:24-bookworm-slim
WORKDIR /app
COPY . .
RUN useradd --create-home indexer && mkdir /data && chown indexer /data /app && chown -R indexer /app
USER indexer
RUN sh scripts/with-node --production node --version
ENV INDEXER_DATA_DIR=/data
VOLUME /data
ENTRYPOINT ["/app/indexer"]
CMD ["run"]
