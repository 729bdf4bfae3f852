import { type BootRule, isHttpBoot } from './boot-rules.ts';

/**
 * A member of Kea's `Dhcp4` object (Kea ARM, "Client Classification"): classes whose tests exclude each other, since Kea
 * looks at all of them. Plain JSON, but for the member's name in front: it is put among others.
 */
export function keaConfig(rules: readonly BootRule[]): readonly string[] {
  const userClasses = rules.filter(({ match }) => match.by === 'user-class').map(nameOf);
  const classes = rules.map((rule) => {
    const { match, server, file } = rule;
    const name = nameOf(rule);
    const before = match.by === 'user-class' ? userClasses.slice(0, userClasses.indexOf(name)) : userClasses;
    return {
      name,
      test: [testOf(rule), ...before.map((other) => `not member('${other}')`)].join(' and '),
      'next-server': server,
      'boot-file-name': file,
      ...(isHttpBoot(rule)
        ? { 'option-data': [{ name: 'vendor-class-identifier', data: 'HTTPClient', 'always-send': true }] }
        : {}),
    };
  });
  return `"client-classes": ${JSON.stringify(classes, undefined, 2)}`.split('\n');
}

function testOf({ match }: BootRule): string {
  if (match.by === 'user-class') {
    const { text, vendor } = match;
    const length = text.length.toString(16).padStart(2, '0');
    const counted = `0x${length}${Buffer.from(text).toString('hex')}`;
    const named = `(option[77].hex == '${text}' or option[77].hex == ${counted})`;
    return vendor === undefined ? named : `${named} and ${vendorTest(vendor)}`;
  }
  const types = match.architectures.map(
    (type) => `substring(option[93].hex, 0, 2) == 0x${type.toString(16).padStart(4, '0')}`,
  );
  return `${vendorTest(match.vendor)} and (${types.join(' or ')})`;
}

function vendorTest(vendor: string): string {
  return `substring(option[60].hex, 0, ${vendor.length}) == '${vendor}'`;
}

function nameOf({ name }: BootRule): string {
  return `bootseal-${name}`;
}
