/** The thread that reads the log's file, so that a long page stalls neither the sockets nor the writer. */
import { serve, threadData } from '../thread.ts';
import { SqliteLogReader } from './log-sqlite-read.ts';

export type Reader = Pick<
  SqliteLogReader,
  'readAll' | 'readStream' | 'readSegment' | 'segments' | 'findCommand' | 'readCommands' | 'close'
> & {
  /** Once the writer has made the file. */
  open(): void;
};

let reader: SqliteLogReader;

serve({
  open: () => {
    reader = new SqliteLogReader(threadData<{ file: string }>().file);
  },
  readAll: (after, limit, types) => reader.readAll(after, limit, types),
  readStream: (stream, from, limit) => reader.readStream(stream, from, limit),
  readSegment: (from, after, limit) => reader.readSegment(from, after, limit),
  segments: () => reader.segments(),
  findCommand: (id) => reader.findCommand(id),
  readCommands: (through, after, limit) => reader.readCommands(through, after, limit),
  close: () => reader.close(),
} satisfies Reader);
