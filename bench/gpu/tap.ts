/** A test that failed, with the first lines of what was said about it. */
export interface FailedTest {
  readonly name: string;
  readonly said: readonly string[];
}

const linesKept = 12;

/** Counts the tests of AVA's TAP output, line by line as it comes. */
export class TapCount {
  passed = 0;
  skipped = 0;
  readonly failed: FailedTest[] = [];
  private said: string[] | undefined;

  line(text: string): void {
    const [, not, name, directive] = /^(not )?ok \d+ - (.*?)(?: # (SKIP|TODO)\b.*)?$/i.exec(text) ?? [];
    if (name === undefined) {
      if (/^\s/.test(text) && this.said && this.said.length < linesKept) this.said.push(text.trim());
      return;
    }
    this.said = undefined;
    if (directive) this.skipped++;
    else if (!not) this.passed++;
    else {
      this.said = [];
      this.failed.push({ name, said: this.said });
    }
  }
}
