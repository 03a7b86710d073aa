% rebase('layout.tpl', title=t("errors.title", title=title) if page.refused else title)
<div class="narrow">
<h1><bdi>{{page.title}}</bdi></h1>
% if page.stored:
<div class="notice good" role="status"><p>{{t("uploaded.stored")}} \\
%   for number, one in enumerate(page.stored):
{{t("common.comma") if number else ""}}<bdi>{{one["name"]}}</bdi>\\
%   end
</p></div>
% end
% if page.refused:
<div class="notice bad" role="alert" aria-labelledby="refused" tabindex="-1">
  <h2 id="refused">{{t("uploaded.refused", n=len(page.refused))}}</h2>
  <ul>
%   for one in page.refused:
    <li>\\
%     if one.name:
<strong><bdi>{{one.name}}</bdi></strong>: \\
%     end
{{one.why}}</li>
%   end
  </ul>
</div>
% end
<p>{{t("links.box_help")}}</p>
% if page.left == "":
<p class="notice bad" role="status">{{t("files.full")}}</p>
% else:
<form class="form" method="post" action="{{page.action}}" enctype="multipart/form-data">
% include('_token.tpl')
  <div class="field">
    <label for="upload">{{t("files.add")}}</label>
    <p class="help" id="upload-help">{{t("links.box_most", most=page.most)}}\\
% if page.left:
 {{t("links.box_left", left=page.left)}}\\
% end
% if page.accepted:
 {{!t.html("files.accepted", kinds=page.accepted)}}\\
% end
</p>
    <input type="file" id="upload" name="file" multiple required aria-describedby="upload-help"
      data-most="{{page.most_bytes}}" data-most-said="{{page.most}}" data-too-large="{{t("files.too_large")}}"
% if page.accept:
      accept="{{page.accept}}"
% end
    >
  </div>
  <div class="actions"><button class="button solid">{{t("files.upload")}}</button></div>
</form>
% end
</div>
