/** How the command line speaks: tables and lines for people, one JSON value a line for programs. */

export class Output {
  readonly json: boolean;

  constructor(json: boolean) {
    this.json = json;
  }

  /** A line for people; nothing for programs. */
  say(line: string): void {
    if (!this.json) process.stdout.write(`${inLines(line)}\n`);
  }

  /** A value for programs; `text` is how people see it. */
  value(value: object, text: string): void {
    process.stdout.write(`${this.json ? JSON.stringify(value) : inLines(text)}\n`);
  }

  /** Rows under headings, as wide as they must be; for programs a JSON value a row. */
  table<const C extends string>(columns: readonly C[], rows: readonly Readonly<Record<C, unknown>>[]): void {
    if (this.json) {
      for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
      return;
    }
    const cells = rows.map((row) => columns.map((column) => shown(String(row[column] ?? '-'))));
    const widths = columns.map((column, at) => Math.max(column.length, ...cells.map((row) => row[at]!.length)));
    const line = (row: readonly string[]) =>
      row
        .map((cell, at) => cell.padEnd(widths[at]!))
        .join('  ')
        .trimEnd();
    process.stdout.write(`${[columns.map((column) => column.toUpperCase()), ...cells].map(line).join('\n')}\n`);
  }
}

/** Text of many lines; only its line ends are obeyed. */
function inLines(text: string): string {
  return text.split('\n').map(shown).join('\n');
}

/** Strangers choose some of these words: none of them may speak to the terminal, turn its text around or hide in it. */
function shown(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{FFFD}');
}
