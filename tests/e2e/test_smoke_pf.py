import time
def test_a(pair):
    t=time.time()
    print(pair.br.get(f"/v1/agreements/{pair.agreement}/decisions"))
    print(pair.uy.channel("in"), pair.uy.get("/v1/incidents"))
def test_b(new_pair):
    print(new_pair.br.get("/v1/channels"))
