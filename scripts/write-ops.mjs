// Writes native/ops.h from the declarations in src/ops.
import { writeFileSync } from 'node:fs';
import { opsHeader } from '../dist/ops/header.js';

writeFileSync(new URL('../native/ops.h', import.meta.url), opsHeader());
