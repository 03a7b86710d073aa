<section class="block block-{{block.kind}} span-{{block.span}}"
% if block.title:
 aria-labelledby="{{block.id}}"
% end
>
% if block.title:
  <h2 id="{{block.id}}">
%   if block.href:
    <a href="{{block.href}}"><bdi>{{block.title}}</bdi></a>
%   else:
    <bdi>{{block.title}}</bdi>
%   end
  </h2>
% end
% if block.kind == "failed":
  <p class="note">{{block.said}} <a href="{{block.again_href}}">{{t("common.try_again")}}</a></p>
% elif block.kind == "markdown":
  <div class="prose">
{{!block.html}}
  </div>
% elif block.kind == "chart":
%   include('_chart.tpl', chart=block.picture)
  <p class="all"><a href="{{block.href}}" aria-label="{{t("block.table")}}: {{block.title}}">{{t("block.table")}}</a></p>
% elif block.kind == "view":
%   if block.table:
  <div class="scroll" role="region" aria-label="{{t("table.wide")}}: {{block.title}}" tabindex="0">
  <table class="data cards">
    <caption class="visually-hidden">{{block.title}}</caption>
    <thead><tr>
%     for heading, is_number in block.columns:
      <th scope="col"
%       if is_number:
 class="num"
%       end
>{{heading}}</th>
%     end
    </tr></thead>
    <tbody>
{{!block.table.html}}
    </tbody>
  </table>
  </div>
%   else:
  <p class="note">{{t("block.nothing")}}</p>
%   end
%   if block.has_more:
  <p class="all"><a href="{{block.href}}" aria-label="{{t("block.all")}}: {{block.title}}">{{t("block.all")}}</a></p>
%   end
% elif block.kind == "form":
%   if block.note:
  <p class="note">{{block.note}}</p>
%   end
%   if block.form:
%     include('_form.tpl', page=block.form)
%   else:
  <p><a class="button{{" solid" if block.is_to_fill else ""}}" href="{{block.href}}" aria-label="{{t("block.open")}}: {{block.title}}">{{t("block.open")}}</a></p>
%   end
% elif block.kind == "files":
%   if block.entries:
  <ul class="entries">
%     for entry in block.entries:
    <li><svg class="icon" aria-hidden="true"><use href="{{static('icon.svg')}}#{{"folder" if entry.is_folder else "file"}}"/></svg>
      <a href="{{entry.href}}"><bdi>{{entry.name}}</bdi></a>
%       if entry.modified:
      <time class="note" datetime="{{entry.iso}}">{{entry.modified}}</time>
%       end
    </li>
%     end
  </ul>
%   else:
  <p class="note">{{t("block.nothing")}}</p>
%   end
%   if block.has_more:
  <p class="all"><a href="{{block.href}}" aria-label="{{t("block.all")}}: {{block.title}}">{{t("block.all")}}</a></p>
%   end
% end
</section>
