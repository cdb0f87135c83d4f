import * as v from 'valibot';
import { diagnose } from '../inspect/doctor.js';
import { onOff } from '../models/settingFields.js';
import { defineCommand } from './commandLine.js';
import { formatBytes } from './table.js';

const schema = v.strictObject({ json: v.optional(onOff('Write one JSON object to standard output'), false) });

export const doctor = defineCommand({
  name: 'doctor',
  summary: 'Shows what this machine has and what of it is used',
  example: 'heddle doctor',
  schema,
  async run({ json }, { stdout }) {
    const diagnosis = diagnose();
    if (json) {
      stdout.write(`${JSON.stringify(diagnosis)}\n`);
      return;
    }
    const { node, platform, cores, memory, cacheFolder, addon } = diagnosis;
    const lines: [string, string][] = [
      ['Node', node],
      ['system', platform],
      ['cores', String(cores)],
      ['memory', `${formatBytes(memory.free)} free of ${formatBytes(memory.total)}`],
      ['cache', cacheFolder],
    ];
    if ('error' in addon) lines.push(['addon', addon.error]);
    else {
      lines.push(['CPU kernels', `${addon.isas.join(', ')}; ${addon.isa} is used here`]);
      lines.push(['CUDA', addon.cuda.available ? 'in use' : `not in use: ${addon.cuda.reason}`]);
      const { cublas } = addon.cuda;
      if (addon.cuda.available) {
        const found = cublas.file ? `${cublas.version}, ${cublas.file}` : `not in use: ${cublas.reason}`;
        lines.push(['cuBLASLt', [found, ...cublas.tried].join('; ')]);
      }
      addon.cuda.devices.forEach(({ name, architecture, memory, problem }, index) => {
        const state = problem || 'works';
        lines.push([`cuda:${index}`, `${name}, ${architecture}, ${formatBytes(memory)}: ${state}`]);
      });
    }
    for (const [name, value] of lines) stdout.write(`${name.padEnd(12)}${value}\n`);
  },
});
