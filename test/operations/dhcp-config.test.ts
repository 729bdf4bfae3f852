import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { UsageError } from '../../src/errors/usage.ts';
import { DHCP_DIALECTS, dhcpConfig } from '../../src/operations/dhcp-config.ts';
import { dnsmasqLines, ukiDnsmasqLines } from '../../src/operations/dnsmasq.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const folder = await temporaryFolder();

async function loaders(...names: string[]): Promise<string> {
  const path = join(folder, names.join('+') || 'none');
  await mkdir(path, { recursive: true });
  for (const name of names) await writeFile(join(path, name), 'x');
  return path;
}

/** Without the lines that are for people. */
async function said(...[options]: Parameters<typeof dhcpConfig>): Promise<string> {
  const { lines } = await dhcpConfig(options);
  return lines
    .filter((line) => !/^(#|\/\/) /.test(line))
    .map((line) => `${line}\n`)
    .join('');
}

/*
 * These three are no servers of ours to start: the texts are held against their vendors' documentation (see
 * docs/dhcp-config.md), and any change of them is meant to be seen.
 */
describe('dhcp-config, word by word', () => {
  const server = '10.0.0.1';
  it('mikrotik', async () => {
    assert.equal(
      await said({ dialect: 'mikrotik', server, loaders: await loaders('ipxe.efi'), httpPort: 80 }),
      `{
:local dhcp "dhcp1"
:local pool [/ip dhcp-server get [/ip dhcp-server find name=$dhcp] address-pool]
/ip dhcp-server network set [/ip dhcp-server network find] next-server=10.0.0.1
/ip dhcp-server option add name=bootseal-http code=60 value="s'HTTPClient'" force=yes
/ip dhcp-server option add name=bootseal-own code=67 value="s'http://10.0.0.1/boot.ipxe'" force=yes
/ip dhcp-server option sets add name=bootseal-own options=bootseal-own
/ip dhcp-server matcher add name=bootseal-own server=$dhcp address-pool=$pool code=77 matching-type=substring value="bootseal" option-set=bootseal-own
/ip dhcp-server option add name=bootseal-ipxe code=67 value="s'http://10.0.0.1/autoexec.ipxe'" force=yes
/ip dhcp-server option sets add name=bootseal-ipxe options=bootseal-ipxe
/ip dhcp-server matcher add name=bootseal-ipxe server=$dhcp address-pool=$pool code=77 matching-type=substring value="iPXE" option-set=bootseal-ipxe
/ip dhcp-server option add name=bootseal-efi code=67 value="s'ipxe.efi'" force=yes
/ip dhcp-server option sets add name=bootseal-efi options=bootseal-efi
/ip dhcp-server matcher add name=bootseal-efi-7 server=$dhcp address-pool=$pool code=60 matching-type=substring value="PXEClient:Arch:00007" option-set=bootseal-efi
/ip dhcp-server matcher add name=bootseal-efi-9 server=$dhcp address-pool=$pool code=60 matching-type=substring value="PXEClient:Arch:00009" option-set=bootseal-efi
/ip dhcp-server option add name=bootseal-http-efi code=67 value="s'http://10.0.0.1/ipxe.efi'" force=yes
/ip dhcp-server option sets add name=bootseal-http-efi options=bootseal-http-efi,bootseal-http
/ip dhcp-server matcher add name=bootseal-http-efi-16 server=$dhcp address-pool=$pool code=60 matching-type=substring value="HTTPClient:Arch:00016" option-set=bootseal-http-efi
}
`,
    );
  });

  it('openwrt', async () => {
    assert.equal(
      await said({ dialect: 'openwrt', server, loaders: await loaders('ipxe-ia32.efi') }),
      `uci set dhcp.bootseal_http_ia32_15='match'
uci set dhcp.bootseal_http_ia32_15.networkid='bootseal_http_ia32'
uci set dhcp.bootseal_http_ia32_15.match='option:client-arch,15'
uci set dhcp.bootseal_http_ia32_boot='boot'
uci set dhcp.bootseal_http_ia32_boot.networkid='bootseal_http_ia32'
uci set dhcp.bootseal_http_ia32_boot.filename='http://10.0.0.1:8080/ipxe-ia32.efi'
uci set dhcp.bootseal_http_ia32_boot.servername='10.0.0.1'
uci set dhcp.bootseal_http_ia32_boot.serveraddress='10.0.0.1'
uci set dhcp.bootseal_http_ia32_boot.force='1'
uci -q delete dhcp.bootseal_http_ia32_boot.dhcp_option
uci add_list dhcp.bootseal_http_ia32_boot.dhcp_option='60,HTTPClient'
uci set dhcp.bootseal_ia32_6='match'
uci set dhcp.bootseal_ia32_6.networkid='bootseal_ia32'
uci set dhcp.bootseal_ia32_6.match='option:client-arch,6'
uci set dhcp.bootseal_ia32_boot='boot'
uci set dhcp.bootseal_ia32_boot.networkid='bootseal_ia32'
uci set dhcp.bootseal_ia32_boot.filename='ipxe-ia32.efi'
uci set dhcp.bootseal_ia32_boot.servername='10.0.0.1'
uci set dhcp.bootseal_ia32_boot.serveraddress='10.0.0.1'
uci set dhcp.bootseal_ipxe_class='userclass'
uci set dhcp.bootseal_ipxe_class.networkid='bootseal_ipxe'
uci set dhcp.bootseal_ipxe_class.userclass='iPXE'
uci set dhcp.bootseal_ipxe_boot='boot'
uci set dhcp.bootseal_ipxe_boot.networkid='bootseal_ipxe'
uci set dhcp.bootseal_ipxe_boot.filename='http://10.0.0.1:8080/autoexec.ipxe'
uci set dhcp.bootseal_ipxe_boot.servername='10.0.0.1'
uci set dhcp.bootseal_ipxe_boot.serveraddress='10.0.0.1'
uci set dhcp.bootseal_own_class='userclass'
uci set dhcp.bootseal_own_class.networkid='bootseal_own'
uci set dhcp.bootseal_own_class.userclass='bootseal'
uci set dhcp.bootseal_own_boot='boot'
uci set dhcp.bootseal_own_boot.networkid='bootseal_own'
uci set dhcp.bootseal_own_boot.filename='http://10.0.0.1:8080/boot.ipxe'
uci set dhcp.bootseal_own_boot.servername='10.0.0.1'
uci set dhcp.bootseal_own_boot.serveraddress='10.0.0.1'
uci commit dhcp
service dnsmasq restart
`,
    );
  });

  it('windows', async () => {
    assert.equal(
      await said({
        dialect: 'windows',
        server,
        loaders: await loaders('undionly.kpxe', 'bootseal-grub-arm64.efi'),
      }),
      `if (-not (Get-DhcpServerv4OptionDefinition -OptionId 60 -ErrorAction SilentlyContinue)) {
  Add-DhcpServerv4OptionDefinition -OptionId 60 -Name 'Vendor class identifier' -Type String
}
Add-DhcpServerv4Class -Name 'bootseal-user-bootseal' -Type User -Data 'bootseal'
Add-DhcpServerv4Class -Name 'bootseal-user-iPXE' -Type User -Data 'iPXE'
Add-DhcpServerv4Class -Name 'bootseal-PXEClient-Arch-00000' -Type Vendor -Data 'PXEClient:Arch:00000'
Add-DhcpServerv4Class -Name 'bootseal-PXEClient-Arch-00011' -Type Vendor -Data 'PXEClient:Arch:00011'
Add-DhcpServerv4Class -Name 'bootseal-HTTPClient-Arch-00019' -Type Vendor -Data 'HTTPClient:Arch:00019'
Add-DhcpServerv4Policy -Name 'bootseal-own' -Condition OR -UserClass EQ,'bootseal-user-bootseal' -ProcessingOrder 1
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-own' -OptionId 66 -Value '10.0.0.1'
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-own' -OptionId 67 -Value 'http://10.0.0.1:8080/boot.ipxe'
Add-DhcpServerv4Policy -Name 'bootseal-ipxe-rom' -Condition AND -UserClass EQ,'bootseal-user-iPXE' -VendorClass EQ,'bootseal-PXEClient-Arch-00000*' -ProcessingOrder 2
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-ipxe-rom' -OptionId 66 -Value '10.0.0.1'
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-ipxe-rom' -OptionId 67 -Value 'undionly.kpxe'
Add-DhcpServerv4Policy -Name 'bootseal-ipxe' -Condition OR -UserClass EQ,'bootseal-user-iPXE' -ProcessingOrder 3
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-ipxe' -OptionId 66 -Value '10.0.0.1'
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-ipxe' -OptionId 67 -Value 'http://10.0.0.1:8080/autoexec.ipxe'
Add-DhcpServerv4Policy -Name 'bootseal-bios' -Condition OR -VendorClass EQ,'bootseal-PXEClient-Arch-00000*' -ProcessingOrder 4
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-bios' -OptionId 66 -Value '10.0.0.1'
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-bios' -OptionId 67 -Value 'undionly.kpxe'
Add-DhcpServerv4Policy -Name 'bootseal-arm64' -Condition OR -VendorClass EQ,'bootseal-PXEClient-Arch-00011*' -ProcessingOrder 5
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-arm64' -OptionId 66 -Value '10.0.0.1'
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-arm64' -OptionId 67 -Value 'bootseal-grub-arm64.efi'
Add-DhcpServerv4Policy -Name 'bootseal-http-arm64' -Condition OR -VendorClass EQ,'bootseal-HTTPClient-Arch-00019*' -ProcessingOrder 6
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-http-arm64' -OptionId 60 -Value 'HTTPClient'
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-http-arm64' -OptionId 66 -Value '10.0.0.1'
Set-DhcpServerv4OptionValue -PolicyName 'bootseal-http-arm64' -OptionId 67 -Value 'http://10.0.0.1:8080/bootseal-grub-arm64.efi'
`,
    );
  });
});

describe('dhcp-config', () => {
  const server = '10.0.0.1';
  it('says for people, in lines that no server reads, who is told what and who nothing', async () => {
    for (const dialect of DHCP_DIALECTS) {
      const { lines } = await dhcpConfig({ dialect, server, loaders: await loaders('bootseal-grub.efi') });
      const comments = lines
        .filter((line) => /^(#|\/\/) /.test(line))
        .map((line) => line.replace(/^\S+ /, ''));
      assert.deepEqual(comments.slice(1), [
        'your own iPXE: http://10.0.0.1:8080/boot.ipxe',
        'UEFI x64: bootseal-grub.efi',
        'UEFI x64, HTTP Boot: http://10.0.0.1:8080/bootseal-grub.efi',
        'BIOS: no loader, so it is told nothing',
        'UEFI ia32: no loader, so it is told nothing',
        'UEFI arm64: no loader, so it is told nothing',
      ]);
      assert.match(lines.join(''), /^[\x20-\x7e]+$/, 'plain ASCII, whatever code page it is pasted into');
    }
  });

  it('takes of several loaders what serve --proxydhcp would, and lets no stock iPXE get itself', async () => {
    const rules = async (...names: string[]) =>
      Object.fromEntries(
        (await dhcpConfig({ dialect: 'kea', server, loaders: await loaders(...names) })).rules.map(
          ({ name, file }) => [name, file],
        ),
      );
    const both = await rules('bootseal-grub.0', 'undionly.kpxe', 'ipxe.efi');
    assert.equal(both.bios, 'undionly.kpxe');
    assert.equal(both.efi, 'ipxe.efi');
    assert.equal(both.ipxe, 'http://10.0.0.1:8080/autoexec.ipxe');
    assert.equal((await rules('bootseal-grub.0', 'bootseal-grub.efi')).ipxe, undefined);
  });

  for (const bad of [
    '',
    'boot.example',
    '10.0.0.1 ',
    '10.0.0.1"; }',
    "10.0.0.1'\nreboot",
    '10.0.0.01',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    'fd00::1',
    '10.0.0.1/24',
  ])
    it(`refuses ${JSON.stringify(bad)} as a server, in every dialect`, async () => {
      for (const dialect of DHCP_DIALECTS)
        await assert.rejects(dhcpConfig({ dialect, server: bad }), (error) => error instanceof UsageError);
    });

  it('refuses a port that is none, a folder without loaders, and a proxy that is none', async () => {
    for (const httpPort of [0, 65536, 1.5, Number.NaN])
      await assert.rejects(dhcpConfig({ dialect: 'kea', server, httpPort }), /is no port/);
    await assert.rejects(dhcpConfig({ dialect: 'kea', server, loaders: await loaders() }), /holds no loader/);
    await assert.rejects(
      dhcpConfig({ dialect: 'kea', server, loaders: await loaders('bootseal-grub.0;reboot') }),
      /holds no loader/,
    );
    await assert.rejects(
      dhcpConfig({ dialect: 'kea', server, proxy: true }),
      /--proxy goes with dnsmasq alone/,
    );
  });

  it('makes of dnsmasq a proxy that gives no address, with a service for each firmware of PXE', async () => {
    const text = await said({
      dialect: 'dnsmasq',
      server,
      proxy: true,
      loaders: await loaders('ipxe.efi', 'undionly.kpxe'),
    });
    assert.equal(
      text,
      `port=0
dhcp-range=10.0.0.1,proxy
dhcp-userclass=set:bootseal-class-bootseal,bootseal
dhcp-boot=tag:bootseal-class-bootseal,http://10.0.0.1:8080/boot.ipxe,,10.0.0.1
dhcp-userclass=set:bootseal-class-ipxe,iPXE
dhcp-vendorclass=set:bootseal-ipxe-rom,PXEClient:Arch:00000
dhcp-boot=tag:bootseal-ipxe-rom,tag:bootseal-class-ipxe,tag:!bootseal-class-bootseal,undionly.kpxe,,10.0.0.1
dhcp-boot=tag:bootseal-class-ipxe,tag:!bootseal-class-bootseal,tag:!bootseal-ipxe-rom,http://10.0.0.1:8080/autoexec.ipxe,,10.0.0.1
dhcp-match=set:bootseal-bios,option:client-arch,0
dhcp-boot=tag:bootseal-bios,tag:!bootseal-class-bootseal,tag:!bootseal-class-ipxe,undionly.kpxe,,10.0.0.1
dhcp-match=set:bootseal-efi,option:client-arch,7
dhcp-match=set:bootseal-efi,option:client-arch,9
dhcp-boot=tag:bootseal-efi,tag:!bootseal-class-bootseal,tag:!bootseal-class-ipxe,ipxe.efi,,10.0.0.1
pxe-service=tag:bootseal-bios,tag:!bootseal-class-bootseal,tag:!bootseal-class-ipxe,0,"BIOS",undionly.kpxe,10.0.0.1
pxe-service=tag:bootseal-efi,tag:!bootseal-class-bootseal,tag:!bootseal-class-ipxe,7,"UEFI x64",ipxe.efi,10.0.0.1
pxe-service=tag:bootseal-efi,tag:!bootseal-class-bootseal,tag:!bootseal-class-ipxe,9,"UEFI x64",ipxe.efi,10.0.0.1
`,
    );
  });
});

describe('lines for dnsmasq that other verbs print', () => {
  it('are of the same table: loaders, and one image for UEFI', () => {
    assert.deepEqual(dnsmasqLines('SERVER', { bios: 'bootseal-grub.0' }), [
      'dhcp-match=set:bootseal-bios,option:client-arch,0',
      'dhcp-boot=tag:bootseal-bios,bootseal-grub.0,,SERVER',
    ]);
    assert.deepEqual(ukiDnsmasqLines('10.0.0.1', 'entries/aarch64/uki.efi', 80, 'aarch64'), [
      'dhcp-match=set:bootseal-arm64,option:client-arch,11',
      'dhcp-boot=tag:bootseal-arm64,entries/aarch64/uki.efi,,10.0.0.1',
      'dhcp-match=set:bootseal-http-arm64,option:client-arch,19',
      'dhcp-option-force=tag:bootseal-http-arm64,60,HTTPClient',
      'dhcp-boot=tag:bootseal-http-arm64,http://10.0.0.1/entries/aarch64/uki.efi,,10.0.0.1',
    ]);
  });
});
