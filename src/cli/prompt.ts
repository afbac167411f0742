/** Asks for something in the terminal that nobody is to read over a shoulder: what is typed is not shown. */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';

/** The line that was typed. Rejects at Ctrl-C. */
export function askHidden(question: string): Promise<string> {
  process.stderr.write(question);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true, historySize: 0 });
  return new Promise((resolve, reject) => {
    lines.once('line', (line) => {
      process.stderr.write('\n');
      resolve(line);
      lines.close();
    });
    lines.once('SIGINT', () => lines.close());
    lines.once('close', () => reject(new Error('nothing was typed')));
  });
}
