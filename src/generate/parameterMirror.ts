import { compile, mirrorGraph } from '../compile/index.js';
import { type ParameterTable, parameterArenas } from '../models/parameterTable.js';
import { encodeScalars } from '../ops/scalars.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import type { Session } from '../runtime/session.js';
import type { Precision } from '../shape/dtype.js';

/**
 * The bf16 copies of a session's parameters that products read. Updates keep them; whoever writes parameters from outside
 * calls `refresh` before the next program runs. Does nothing in float32.
 */
export class ParameterMirror {
  private program: Promise<LoadedProgram> | undefined;

  constructor(
    private readonly session: Session,
    private readonly table: ParameterTable,
    private readonly precision: Precision,
  ) {}

  async refresh(): Promise<void> {
    if (this.precision !== 'bf16') return;
    this.program ??= this.load();
    await (await this.program).run(encodeScalars({}));
  }

  private async load(): Promise<LoadedProgram> {
    const compiled = compile(mirrorGraph(this.table.elements), {
      arenas: parameterArenas(this.table, this.precision),
    });
    const [program] = await LoadedProgram.load(this.session, [compiled]);
    return program;
  }
}
