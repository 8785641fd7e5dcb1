// What the environment says of options, as people and compose files write it: made ready before commander looks.
import { nearestName } from './nearest-name.ts'
import { type OptionSpec, optionTable } from './options.ts'

const prefix = 'INDEXER_'

const switches: Readonly<Record<string, boolean>> = {
  1: true,
  true: true,
  yes: true,
  0: false,
  false: false,
  no: false,
}

/**
 * To be called before options are read. To commander a variable that is there turns a flag on, whatever it says; here it is on or off by
 * its word, and an empty variable, as compose files make them, is none. Gives what is wrong with one.
 */
export function readVariables(environment: NodeJS.ProcessEnv): string | undefined {
  const options = Object.values(optionTable) as OptionSpec<unknown>[]
  for (const { env, default: value } of options) {
    const text = env && environment[env]
    if (env === undefined || text === undefined) continue
    const isOn = typeof value === 'boolean' ? switches[text.toLowerCase()] : true
    if (text === '' || isOn === false) delete environment[env]
    else if (isOn === undefined) return `${env}=${text} is neither true nor false`
  }
  return misspelled(Object.keys(environment), options)
}

/** Not every unknown one is a mistake: Kubernetes sets INDEXER_PORT and the like for a service of that name. */
function misspelled(names: readonly string[], options: readonly OptionSpec<unknown>[]): string | undefined {
  const known = options.flatMap(({ env }) => (env?.startsWith(prefix) ? [env.slice(prefix.length)] : []))
  for (const name of names) {
    const rest = name.slice(prefix.length)
    if (!name.startsWith(prefix) || known.includes(rest)) continue
    const meant = nearestName(rest, known)
    if (meant !== undefined) return `${name} is no setting; did you mean ${prefix}${meant}?`
  }
  return undefined
}
