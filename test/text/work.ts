/** How many characters `run` lets strings' searches and copies go over: what a text costs, whatever else the machine does. */
export function charactersGoneOver(run: () => void): number {
  const { indexOf, slice } = String.prototype;
  let characters = 0;
  String.prototype.indexOf = function (wanted, from = 0) {
    const found = indexOf.call(this, wanted, from);
    characters += Math.max(0, (found < 0 ? this.length : found + wanted.length) - from);
    return found;
  };
  String.prototype.slice = function (start, end) {
    const copied = slice.call(this, start, end);
    characters += copied.length;
    return copied;
  };
  try {
    run();
  } finally {
    Object.assign(String.prototype, { indexOf, slice });
  }
  return characters;
}
