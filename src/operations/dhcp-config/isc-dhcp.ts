import { type BootRule, isHttpBoot } from './boot-rules.ts';

/**
 * Statements for dhcpd.conf, outside of any subnet (dhcpd.conf(5), dhcp-eval(5)). One chain of conditions, so that the
 * first that fits is the only one. The options have names of their own: dhcpd takes a second name for a code, and refuses
 * a second definition of a name that the site's file may hold already.
 */
export function iscConfig(rules: readonly BootRule[]): readonly string[] {
  return [
    `option ${ARCHITECTURE} code 93 = string;`,
    `option ${USER_CLASS} code 77 = string;`,
    ...rules.flatMap((rule, index) => [
      `${index === 0 ? 'if' : '} elsif'} ${conditionOf(rule)} {`,
      `  next-server ${rule.server};`,
      `  filename "${rule.file}";`,
      ...(isHttpBoot(rule) ? ['  option vendor-class-identifier "HTTPClient";'] : []),
    ]),
    '}',
  ];
}

const ARCHITECTURE = 'bootseal-architecture';
const USER_CLASS = 'bootseal-user-class';

function conditionOf({ match }: BootRule): string {
  if (match.by === 'user-class') {
    const { text, vendor } = match;
    // RFC 3004 puts a length before each class.
    const named = `option ${USER_CLASS} = "${text}" or substring(option ${USER_CLASS}, 1, ${text.length}) = "${text}"`;
    // dhcpd reads no condition that begins with a parenthesis and goes on behind it.
    return vendor === undefined ? named : `${vendorTest(vendor)} and (${named})`;
  }
  // An option is compared as bytes, whatever its type.
  const types = match.architectures.map(
    (type) => `substring(option ${ARCHITECTURE}, 0, 2) = 00:${type.toString(16).padStart(2, '0')}`,
  );
  return `${vendorTest(match.vendor)} and (${types.join(' or ')})`;
}

function vendorTest(vendor: string): string {
  return `substring(option vendor-class-identifier, 0, ${vendor.length}) = "${vendor}"`;
}
