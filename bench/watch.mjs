/**
 * Loaded into a hub before it starts: measures how late its event loop is, and says so when the parent asks. Plain JavaScript,
 * because the built hub runs without a loader.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

if (isMainThread && process.channel) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  process.on('message', ({ id }) => {
    const ms = (nanoseconds) => nanoseconds / 1e6;
    process.send({ id, value: { p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(delay.max) } });
    delay.reset();
  });
  process.on('disconnect', () => process.kill(process.pid, 'SIGTERM')); // no hub outlives its benchmark
  process.channel.unref(); // and it ends when it wants to
}
