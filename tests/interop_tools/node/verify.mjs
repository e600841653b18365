// Verifies one Sigstore bundle with @sigstore/verify.
// usage: node verify.mjs '{"bundle", "trustedRoot", "artifact"?, "identity"?, "issuer"?, "key"?, "tlogs", "ctlogs", "timestamps"}'
// Prints the signed payload and exits 0, or prints why not and exits 1.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';

// Packages are in the cache folder, which the working directory names: they are not beside this file.
const require = createRequire(process.cwd() + '/');
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const asked = JSON.parse(process.argv[2]);
const readJSON = (path) => JSON.parse(readFileSync(path, 'utf8'));
const artifact = asked.artifact === undefined ? undefined : readFileSync(asked.artifact);
const findKey = () => ({ publicKey: createPublicKey(readFileSync(asked.key)), validFor: () => true });
const exactly = (text) => `^${text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`;

try {
  const bundle = bundleFromJSON(readJSON(asked.bundle));
  const trust = toTrustMaterial(TrustedRoot.fromJSON(readJSON(asked.trustedRoot)), asked.key ? findKey : undefined);
  const policy = {};
  if (asked.identity !== undefined) policy.subjectAlternativeName = exactly(asked.identity);
  if (asked.issuer !== undefined) policy.extensions = { issuer: asked.issuer };
  const verifier = new Verifier(trust, {
    tlogThreshold: asked.tlogs,
    ctlogThreshold: asked.ctlogs,
    timestampThreshold: asked.timestamps,
  });
  verifier.verify(toSignedEntity(bundle, artifact), policy);
  const signed = bundle.content.dsseEnvelope?.payload ?? artifact;
  process.stdout.write(signed);
} catch (error) {
  console.log(`${error.code ?? error.name}: ${error.message}`);
  process.exit(1);
}
