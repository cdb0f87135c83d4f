import { openVectors, scoreAnalogies, scoreSimilarity } from '../evaluate/wordVectors.js';
import type { CommandContext } from './commandLine.js';
import { formatTable } from './table.js';

/** Files of questions for the vectors of a model. */
export interface VectorQuestions {
  readonly model: string;
  readonly similarity?: string;
  readonly analogies?: string;
  readonly json: boolean;
}

/** Prints how well vectors agree with human judgement, as tables or as one JSON object. */
export async function evaluateVectors(
  questions: VectorQuestions,
  { stdout }: Pick<CommandContext, 'stdout'>,
): Promise<void> {
  const vectors = await openVectors(questions.model);
  const similarity = questions.similarity && (await scoreSimilarity(vectors, questions.similarity));
  const analogies = questions.analogies && (await scoreAnalogies(vectors, questions.analogies));
  if (questions.json) {
    const found = { ...(similarity && { similarity }), ...(analogies && { analogies }) };
    stdout.write(`${JSON.stringify({ event: 'evaluation', ...found })}\n`);
    return;
  }
  const write = (table: string) => stdout.write(`${table}\n`);
  if (similarity) {
    const { spearman, pairs, total } = similarity;
    write(formatTable(['', 'Spearman', 'pairs', 'of'], [['similarity', spearman.toFixed(4), pairs, total]]));
  }
  if (analogies) {
    const rows = analogies.map(({ section, correct, questions, accuracy }) => [
      section,
      questions ? `${(100 * accuracy).toFixed(1)}%` : '-',
      correct,
      questions,
    ]);
    write(formatTable(['', 'accuracy', 'correct', 'questions'], rows));
  }
}
