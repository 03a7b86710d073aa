% rebase('layout.tpl')
<div class="head"><div><h1><bdi>{{page.title}}</bdi></h1>
% if page.step != "choose":
  <p class="note"><bdi>{{page.file}}</bdi></p>
% end
</div></div>
% if page.step == "choose":
<form class="upload" method="post" action="{{page.action}}" enctype="multipart/form-data" data-drop>
%   include('_token.tpl')
  <input type="hidden" name="step" value="choose">
  <div class="pick">
    <label for="file">{{t("import.file")}}</label>
    <input type="file" id="file" name="file" required accept=".csv,.txt,.tsv,.xlsx" data-most="{{page.most_bytes}}" data-most-said="{{page.most}}" data-too-large="{{t("files.too_large")}}" aria-describedby="file-help">
  </div>
  <button class="button solid">{{t("import.go_on")}}</button>
  <p class="help" id="file-help">{{!t.html("import.help", fields=page.names)}}</p>
</form>
% else:
%   if page.report:
<section class="imported" aria-labelledby="report">
  <h2 id="report">{{page.report.heading}}</h2>
  <dl class="record">
%     for title, count in page.report.counts:
    <div><dt>{{title}}</dt><dd>{{count}}</dd></div>
%     end
  </dl>
%     if page.report.errors:
%       include('_import_faults.tpl', faults=page.report.errors, name="report-faults")
  <p>
%       if page.report.more:
  {{t("import.first_faults", n=len(page.report.errors))}}
%       end
  <a href="{{page.report_href}}">{{t("import.report_csv")}}</a></p>
%     end
</section>
%   end
%   if page.step == "over":
<p class="actions">
%     if page.records_href:
  <a class="button solid" href="{{page.records_href}}">{{t("import.to_records")}}</a>
%     end
  <a class="button" href="{{page.form_href}}">{{t("import.another")}}</a></p>
%   else:
%     if page.error:
<p class="notice bad" role="alert">{{page.error}}</p>
%     end
%     if not page.is_sure:
<p class="notice bad" role="status">{{t("import.not_sure")}}</p>
%     end
<details class="layout" {{"open" if page.error or not page.is_sure else ""}}>
  <summary>{{t("import.layout")}}</summary>
  <form class="filter" method="get" action="{{page.here}}">
%     if page.is_csv:
    <div class="field"><label for="encoding">{{t("import.encoding")}}</label><select id="encoding" name="encoding">
%       for value, title in page.encodings:
      <option value="{{value}}" {{"selected" if value == page.encoding else ""}}>{{title}}</option>
%       end
    </select></div>
    <div class="field"><label for="separator">{{t("import.separator")}}</label><select id="separator" name="separator">
%       for value, title in page.separators:
      <option value="{{value}}" {{"selected" if value == page.separator else ""}}>{{title}}</option>
%       end
    </select></div>
%     elif len(page.sheets) > 1:
    <div class="field"><label for="sheet">{{t("import.sheet")}}</label><select id="sheet" name="sheet">
%       for value in page.sheets:
      <option value="{{value}}" {{"selected" if value == page.sheet else ""}}>{{value}}</option>
%       end
    </select></div>
%     end
    <div class="field"><label for="heading">{{t("import.heading")}}</label><input type="number" id="heading" name="heading" min="0" max="1048576" value="{{page.heading}}"></div>
    <button class="button">{{t("import.read_again")}}</button>
  </form>
</details>
%     if page.preview is not None:
<form class="mapping" method="get" action="{{page.here}}">
%       for name, value in page.chosen.items():
  <input type="hidden" name="{{name}}" value="{{value}}">
%       end
  <h2>{{t("import.columns")}}</h2>
  <ul class="rows">
%       for number, column in enumerate(page.columns):
    <li class="two">
      <label class="main" for="column-{{number}}"><bdi>{{column.heading}}</bdi></label>
      <div><select id="column-{{number}}" name="columns">
        <option value="">{{t("import.left_out")}}</option>
%         for value, title in page.fields:
%           if value != "id" or column.name == "id":
        <option value="{{value}}" {{"selected" if value == column.name else ""}}>{{title}}</option>
%           end
%         end
      </select>
      <p class="note samples">\\
%         for sample in column.samples:
<span><bdi>{{sample}}</bdi></span> \\
%         end
</p></div>
    </li>
%       end
  </ul>
%       if page.keys:
  <div class="field"><label for="key">{{t("import.key")}}</label><select id="key" name="key">
    <option value="">{{t("import.no_key")}}</option>
%         for value, title in page.keys:
    <option value="{{value}}" {{"selected" if value == page.key else ""}}>{{t("import.by_key", field=title)}}</option>
%         end
  </select></div>
%       end
  <button class="button">{{t("import.preview")}}</button>
</form>
%       if not page.report:
<section aria-labelledby="preview">
  <h2 id="preview">{{t("import.first_rows", n=page.previewed)}}</h2>
%       if page.preview:
%         include('_import_faults.tpl', faults=page.preview[:20], name="preview-faults")
%       elif page.previewed:
  <p>{{t("import.no_faults")}}</p>
%       else:
  <p>{{t("import.no_rows")}}</p>
%       end
</section>
%       end
%       if page.count:
<form class="run" method="post" action="{{page.action}}">
%         include('_token.tpl')
  <input type="hidden" name="step" value="run">
%         for name, value in page.hidden.items():
  <input type="hidden" name="{{name}}" value="{{value}}">
%         end
%         for name in page.names:
  <input type="hidden" name="columns" value="{{name}}">
%         end
%         if page.must_be_partial:
  <input type="hidden" name="partial" value="1">
  <p class="help">{{t("import.in_batches", n=page.count, most=page.most_rows)}}</p>
%         else:
  <div class="choice"><input type="checkbox" id="partial" name="partial" value="1" {{"checked" if page.partial else ""}}><label for="partial">{{t("import.partial")}}</label></div>
%         end
  <p class="actions"><button class="button solid">{{t("import.run", n=page.count)}}</button>
  <button class="button" name="dry_run" value="1">{{t("import.check")}}</button></p>
</form>
%       end
%     end
%   end
% end
