import type { Device } from '#src/runtime/session.js';

/** Where tests of kernels and of whole models run: HEDDLE_TEST_DEVICE, by default the CPU. */
export const testDevice = (process.env.HEDDLE_TEST_DEVICE || 'cpu') as Device;
