/** The two classes of stream. Apart from the catalogue, so that the threads of the log start without its schemas. */

const transientCategories = new Set(['heartbeat', 'health', 'reads', 'traffic']);

/**
 * By the word before the first '-' of its name. Kept streams live for ever and carry decisions; transient ones carry
 * readings.
 */
export function streamClass(stream: string): 'kept' | 'transient' {
  const dash = stream.indexOf('-');
  return transientCategories.has(dash === -1 ? stream : stream.slice(0, dash)) ? 'transient' : 'kept';
}
