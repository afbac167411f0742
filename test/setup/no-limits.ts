/** Settings of a hub that is asked more in a minute than anyone would be allowed. */
const most = '10000000';

export const noLimits = {
  FEDERATION_LIMIT_REQUESTS: most,
  FEDERATION_LIMIT_MEGABYTES: most,
  FEDERATION_LIMIT_MESSAGES: most,
  FEDERATION_LIMIT_STRANGERS: most,
  FEDERATION_DEGRADATION: 'orders', // a test asks a thousand things at once, on a machine that is busy with others
} as const;
