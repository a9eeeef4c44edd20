from cnnlab.models import list_models
from cnnlab.models.published import published_accuracies


def test_rows():
    rows = published_accuracies()
    assert len(rows) == 45 + 2
    assert [row.top1 for row in rows] == sorted((row.top1 for row in rows), reverse=True)
    assert all(50 < row.top1 < row.top5 < 100 for row in rows)
    assert len({(row.name, row.version) for row in rows}) == len(rows)


def test_a_row_names_our_network_or_its_paper():
    for row in published_accuracies():
        if row.model is not None:
            assert row.model in list_models(), row
            assert row.params is row.macs is row.year is None
        else:
            assert row.paper
            assert row.link.startswith("https://arxiv.org/abs/")
            assert 2015 <= row.year <= 2018


def test_known_rows():
    rows = {(row.name, row.version): row for row in published_accuracies()}
    assert rows["PolyNet", ""][2:4] == (81.002, 95.624)
    assert rows["PNASNet-5-Large", ""].params == 86_057_668
    assert rows["Alexnet", ""].model == "alexnet"
    assert rows["CaffeResnet101", "Caffe original"].top1 == 76.4
