// What others may do with a view or table, so that what takes its place under the same name can be read by them as well. In: a name.
// Out: statements.
import type { PoolClient } from 'pg'

/** That grant what is granted now on `relation`, a quoted name; none if it is not there. */
export async function grantsOn(client: PoolClient, relation: string): Promise<string[]> {
  const { rows } = await client.query<{ statement: string }>(selectGrants, [relation])
  return rows.map(({ statement }) => statement)
}

const selectGrants = `
  select format('grant %s on %s to %s%s', a.privilege_type, $1::text, coalesce(quote_ident(r.rolname), 'public'),
                case when a.is_grantable then ' with grant option' else '' end) as statement
  from pg_class c cross join aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
  where c.oid = to_regclass($1::text) and a.grantee <> c.relowner`
