// A decoder with large random weights, whose distributions are far from even, and all that decodes with it.
import { DecodingPrograms } from '#src/generate/decodingPrograms.js';
import { Generator } from '#src/generate/generate.js';
import { Decoder } from '#src/models/decoder.js';
import { initialValues } from '#src/models/initialize.js';
import { type ParameterTable, parameterTable } from '#src/models/parameterTable.js';
import { Session } from '#src/runtime/session.js';
import { CharacterTokenizer } from '#src/text/characters.js';
import { testDevice } from '../device.js';

export interface Toy {
  readonly session: Session;
  readonly model: Decoder;
  readonly table: ParameterTable;
  readonly tokenizer: CharacterTokenizer;
  readonly generator: Generator;
  readonly programs: DecodingPrograms;
}

class Uncached extends Decoder {
  override readonly keepsCache = false as never;
}

export async function toy(
  letters: string,
  capacity: number,
  options: { cache?: boolean; seed?: number } = {},
): Promise<Toy> {
  const tokenizer = CharacterTokenizer.fromText(letters);
  const { vocabSize } = tokenizer;
  const Model = options.cache === false ? Uncached : Decoder;
  const model = new Model({
    vocabSize,
    hiddenSize: 16,
    numHiddenLayers: 2,
    numAttentionHeads: 2,
    maxPositionEmbeddings: capacity,
    initializerRange: 0.4,
  });
  const table = parameterTable(model);
  const session = Session.open({ device: testDevice, threads: 1 });
  const generator = new Generator(session, model, table, tokenizer, capacity);
  await generator.load();
  for (const { entry, values } of initialValues(model, table, options.seed ?? 3)) {
    await session.write('parameters', entry.slot.offset, values);
  }
  const programs = new DecodingPrograms(session, model, table, vocabSize, capacity);
  return { session, model, table, tokenizer, generator, programs };
}
