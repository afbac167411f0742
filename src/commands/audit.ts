/** The streams of what is told and never decided on: refusals and sensitive reads, and counts of ordinary reads. */

export const auditStream = 'audit';
export const readsStream = 'reads';
