// For tests: a DID document as a directory gives it.

export function documentOf(id: string, host = 'https://pds.example') {
  return {
    id,
    alsoKnownAs: ['at://alice.example'],
    verificationMethod: [
      {
        id: `${id}#atproto`,
        type: 'Multikey',
        publicKeyMultibase: 'zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w',
      },
    ],
    service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: host }],
  }
}
