# syntax=docker/dockerfile:1
# One replica of the hub. infra/compose.yaml runs three over PostgreSQL and Redis.

# The full image has what compiles the native module where no binary of it is to be had.
FROM node:22 AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Scripts wait until the sources are there: `prepare` builds them.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY infra/bundle.mjs infra/
COPY src src
RUN npm rebuild better-sqlite3 && npm run build && npm prune --omit=dev --ignore-scripts

FROM node:22-slim
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=3002 \
    FEDERATION_DATA_DIR=/data
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# SQLite files, the keyring and the log lie here when there is no DATABASE_URL.
# Replicas share /data/files: it is there, so that a volume in its place belongs to this user.
RUN mkdir -p /data/files && chown -R node:node /data
VOLUME /data
USER node
EXPOSE 3002
# Liveness of this process; /api/federation/ready says whether it may be sent work.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/api/federation/health`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Directly, so that SIGTERM reaches the hub: it drains within five seconds.
ENTRYPOINT ["node", "dist/cli/fedhub.js"]
CMD ["serve"]
