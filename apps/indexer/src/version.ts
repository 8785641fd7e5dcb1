// The version in package.json: what `--version` and the User-Agent say.
import packageJson from '../package.json' with { type: 'json' }

export const version: string = packageJson.version
