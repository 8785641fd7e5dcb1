// What the environment says of options, as people and compose files write it: made ready before commander looks.
import { type OptionSpec, optionTable } from './options.ts'

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
  for (const { env, default: value } of Object.values(optionTable) as OptionSpec<unknown>[]) {
    const text = env && environment[env]
    if (env === undefined || text === undefined) continue
    const isOn = typeof value === 'boolean' ? switches[text.toLowerCase()] : true
    if (text === '' || isOn === false) delete environment[env]
    else if (isOn === undefined) return `${env}=${text} is neither true nor false`
  }
  return undefined
}
