/** The choice for each kind of matrix product, from `SessionStats.matmulChoices`. */
function choicesByKind(text: string): Map<string, string> {
  const lines = text.split('\n').map((line) => line.split('\t'));
  return new Map(lines.filter(({ length }) => length > 1).map(([kind, choice]) => [kind, choice]));
}

/** What a resumed run should know of products that are computed in another way than before; undefined where none is. */
export function changedMatmulChoices(before: string, now: string): string | undefined {
  const current = choicesByKind(now);
  const changed = [...choicesByKind(before)].filter(
    ([kind, choice]) => (current.get(kind) ?? 'own') !== choice,
  );
  if (changed.length === 0) return undefined;
  const [[kind, choice]] = changed;
  const products = changed.length === 1 ? 'a matrix product is' : `${changed.length} matrix products are`;
  return (
    `${products} computed in another way than before, and results will differ in the last bits: ` +
    `${kind} by ${current.get(kind) ?? 'own'} in place of ${choice}`
  );
}
