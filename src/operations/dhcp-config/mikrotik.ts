import type { BootRule } from './boot-rules.ts';
import { isHttpBoot } from './boot-rules.ts';

/**
 * One block for RouterOS 7.16 or later: option sets, and matchers that give them out. A matcher looks at one option, and
 * the architecture stands in option 60 as well as in 93 (PXEClient:Arch:00007). `s'…'` is text, which RouterOS does not
 * take for an address or a number. siaddr is the network's alone.
 */
export function mikrotikConfig(rules: readonly BootRule[]): readonly string[] {
  const server = rules[0]?.server ?? '';
  return [
    '{',
    ':local dhcp "dhcp1"',
    ':local pool [/ip dhcp-server get [/ip dhcp-server find name=$dhcp] address-pool]',
    `/ip dhcp-server network set [/ip dhcp-server network find] next-server=${server}`,
    '/ip dhcp-server option add name=bootseal-http code=60 value="s\'HTTPClient\'" force=yes',
    ...rules.flatMap((rule) => {
      const { name, file, match } = rule;
      const set = `bootseal-${name}`;
      const options = isHttpBoot(rule) ? `${set},bootseal-http` : set;
      const matchers =
        match.by === 'user-class'
          ? [{ suffix: '', code: 77, value: match.text }]
          : match.architectures.map((type) => ({
              suffix: `-${type}`,
              code: 60,
              value: `${match.vendor}:Arch:${String(type).padStart(5, '0')}`,
            }));
      return [
        `/ip dhcp-server option add name=${set} code=67 value="s'${file}'" force=yes`,
        `/ip dhcp-server option sets add name=${set} options=${options}`,
        ...matchers.map(
          ({ suffix, code, value }) =>
            `/ip dhcp-server matcher add name=${set}${suffix} server=$dhcp address-pool=$pool code=${code} matching-type=substring value="${value}" option-set=${set}`,
        ),
      ];
    }),
    '}',
  ];
}
