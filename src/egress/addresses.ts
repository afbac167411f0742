/** Which addresses the hub may call: public unicast, and the networks that the operator allows. */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Why an IP address may not be called; undefined when it may. What is no IP address is refused too. */
export type AddressRule = (address: string) => string | undefined;

type Network = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** All of IPv6 that is given out as global unicast; special networks within it are known by name. */
const globalUnicast: Network = [ipaddr.parse('2000::'), 3];

/** `allow` holds addresses and networks (`10.0.0.0/8`, `::1`). Throws on what is neither. */
export function addressRule(allow: readonly string[]): AddressRule {
  const allowed = allow.map(networkFrom);
  return (text) => {
    if (isIP(text) === 0) return `${text.slice(0, 64)} is no IP address`; // ipaddr.js alone takes forms that others read otherwise
    const address = ipaddr.parse(text);
    if (allowed.some((network) => holds(network, address))) return undefined;
    const range = address.range();
    const stray = range === 'unicast' && address.kind() === 'ipv6' && !holds(globalUnicast, address);
    return range === 'unicast' && !stray ? undefined : `${text} is no public address (${stray ? 'reserved' : range})`;
  };
}

function networkFrom(entry: string): Network {
  if (entry.includes('/')) return ipaddr.parseCIDR(entry);
  const address = ipaddr.parse(entry);
  return [address, address.kind() === 'ipv6' ? 128 : 32];
}

/** An IPv4 address in IPv6 clothes lies in no IPv4 network: it is not the form that was allowed. */
function holds([network, bits]: Network, address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  return network.kind() === address.kind() && address.match(network, bits);
}
