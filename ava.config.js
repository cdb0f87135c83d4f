// Tests are compiled by `npm run build:test` before AVA sees them. On CI the output is TAP, which .ci/run counts.
export default {
  files: ['dist-test/test/**/*.test.js', '!dist-test/test/fixtures/**'],
  workerThreads: true,
  timeout: '10m',
  tap: Boolean(process.env.CI),
};
